"""Figures of the running system: the hourly counters, and the reports made from them: health, usage, Prometheus."""
