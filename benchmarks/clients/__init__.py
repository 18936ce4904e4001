"""Other task queues, each measured in an environment of its own: see ``benchmarks.lab.rooms``."""
