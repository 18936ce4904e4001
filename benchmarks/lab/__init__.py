"""What the benchmarks start: a private broker, a flow server, workers; and how they measure."""
