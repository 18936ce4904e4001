"""The command line: ``flywheel ask "…"`` and the other commands."""

import gc

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with the command's exit code."""
    gc.disable()  # until the command is imported: see `load_command`
    try:
        from producer.cli.root import main as run

        run()
    finally:
        gc.enable()
