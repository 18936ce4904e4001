"""The command line: ``flywheel ask "…"`` and all that lies around it."""

from producer.cli.root import main

__all__ = ["main"]
