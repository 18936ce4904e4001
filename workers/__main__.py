"""Start one worker process: ``python -m workers``, or ``flywheel worker``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.rights import check_broker
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, FlywheelError
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import flowise_address
from agentic_flywheel.stack import stack_settings


def main() -> int:
    """Run until SIGTERM. Returns the exit status; 2 where a setting, the registry or the broker's user will not do."""
    given = _parser().parse_args()
    try:
        settings = stack_settings()
        keep_log(settings)
        catalog = load_catalog(find_registry(settings.registry))
        if any(flow.server is None for flow in catalog.active.values()):
            flowise_address(settings)
        bases = _queues(given, catalog)
        with suppress(BrokerUnavailable, BrokerRefused):  # a worker waits for its broker
            asyncio.run(check_broker(settings.redis_url, settings.key_prefix))
        from workers.app import app, queues, readiness

        queues.takes_all = not (given.queues or given.domain)
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.recovery_suggestions))
        return 2
    readiness.file = given.ready_file
    read = [band for base in bases for band in wire.bands(base)]
    options = ["worker", "-n", f"{given.name}@%h", "-Q", ",".join(read)]
    options += ["-c", str(given.concurrency or settings.concurrency)]
    options += ["-l", given.log_level, "--without-gossip", "--without-mingle"]
    app.worker_main([*options, *(["-E"] if given.events else [])])
    return 0


def _parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(prog="flywheel worker", description="Answer queries until SIGTERM or Ctrl-C.")
    asked.add_argument(
        "--domain", action="append", metavar="NAME", help="answer this domain only; repeatable. It routes no questions"
    )
    asked.add_argument("--queues", metavar="A,B", help="read these queues; default: all of the registry's domains")
    asked.add_argument(
        "--concurrency", type=_how_many, metavar="N", help="queries at once; default: FLYWHEEL_CONCURRENCY"
    )
    asked.add_argument("--name", default="flywheel", help="name of this worker, one per machine")
    asked.add_argument("--events", action="store_true", help="send events of tasks, for Flower; costs some speed")
    asked.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="touched every few seconds while the worker takes queries and its broker answers",
    )
    asked.add_argument("--log-level", default="INFO")
    return asked


def _how_many(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100,000")
    return int(text)


def _queues(given: argparse.Namespace, catalog: Catalog) -> list[str]:
    """Return the base queues to read. Raises UnknownDomain."""
    if given.domain or given.queues:
        named = given.queues.split(",") if given.queues else []
        for domain in given.domain or ():
            catalog.in_domain(domain)
            named.append(wire.domain_queue(domain))
        return named
    return [wire.CLASSIFY_QUEUE, *map(wire.domain_queue, catalog.domains), wire.SYNTHESIS_QUEUE]


if __name__ == "__main__":
    sys.exit(main())
