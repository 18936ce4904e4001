"""The command line: ``flywheel ask "…"`` and the other commands."""

from producer.cli.root import main

__all__ = ["main"]
