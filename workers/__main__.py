"""Start one worker process: ``python -m workers [--queues a,b] [--name NAME] [--events] [--ready-file PATH]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from celery import signals

from agentic_flywheel import wire
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import flowise_address, load_settings


def main() -> int:
    """Run until SIGTERM. Returns the exit status; 2 for a setting or registry that is not acceptable."""
    asked = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    asked.add_argument("--queues", help="base queues, comma separated; default: all of the registry's domains")
    asked.add_argument("--name", default="flywheel", help="name of this worker, one per machine")
    asked.add_argument("--events", action="store_true", help="tell Flower what happens; costs some speed")
    asked.add_argument("--ready-file", type=Path, help="file to write when the worker takes queries")
    asked.add_argument("--log-level", default="INFO")
    given = asked.parse_args()
    try:
        settings = load_settings()
        flowise_address(settings)
        catalog = load_catalog(find_registry(settings.registry))
        bases = given.queues.split(",") if given.queues else _all_queues(catalog.domains)
        from workers.app import app
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.recovery_suggestions))
        return 2
    if given.ready_file is not None:
        signals.worker_ready.connect(lambda **_: given.ready_file.write_text("ready\n"), weak=False)
    queues = [band for base in bases for band in wire.bands(base)]
    options = ["worker", "-n", f"{given.name}@%h", "-Q", ",".join(queues), "-c", str(settings.concurrency)]
    options += ["-l", given.log_level, "--without-gossip", "--without-mingle"]
    app.worker_main([*options, *(["-E"] if given.events else [])])
    return 0


def _all_queues(domains: Iterable[str]) -> list[str]:
    return [wire.CLASSIFY_QUEUE, *map(wire.domain_queue, domains), wire.SYNTHESIS_QUEUE]


if __name__ == "__main__":
    sys.exit(main())
