"""Start one worker process: ``python -m workers``, or ``flywheel worker``."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from importlib import import_module
from pathlib import Path

from agentic_flywheel.base import build_models
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.starting import prepare, until_there
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.log_files import keep_log, tell
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import Settings, flowise_address
from agentic_flywheel.stack import stack_settings
from agentic_flywheel.tracing.text import load_mask


def main() -> int:
    """Run until SIGTERM. Returns the exit status: 2 where a setting, the registry or the broker's user will not do.

    1 where Celery has ended for another reason than a signal.
    """
    given = _parser().parse_args()
    try:
        settings = stack_settings()
        keep_log(settings)
        catalog = load_catalog(find_registry(settings.registry))
        if any(flow.server is None for flow in catalog.active.values()):
            flowise_address(settings)
        bases = _queues(given, catalog)
        if unknown := sorted({*bases} - {*_known(catalog)}):
            tell(f"No query of ours comes to {', '.join(unknown)}: the queues are {', '.join(_known(catalog))}")
        load_mask(settings.trace_mask)  # a wrong one would end the worker when it is half started
        prepare(settings, tell)
        asyncio.run(_until_ready(settings))
        from workers.app import app, queues, readiness

        queues.takes_all = not (given.queues or given.domain)
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.advice))
        return 2
    except KeyboardInterrupt:
        return 130
    readiness.file = given.ready_file
    read = [band for base in bases for band in wire.bands(base)]
    options = ["worker", "-n", f"{given.name}@%h", "-Q", ",".join(read)]
    options += ["-c", str(given.concurrency or settings.concurrency)]
    options += ["-l", given.log_level, "--without-gossip", "--without-mingle"]
    return int(app.start([*options, *(["-E"] if given.events else [])]) or 0)


async def _until_ready(settings: Settings) -> None:
    """Return when the broker is there. Import meanwhile what takes the most time: a broker may be far away."""
    await asyncio.gather(until_there(settings, "The worker", tell), asyncio.to_thread(import_module, "workers.app"))
    build_models()


def _parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(
        prog="flywheel worker", description="Answer queries until SIGTERM or Ctrl-C.", allow_abbrev=False
    )
    asked.add_argument(
        "--domain", action="append", metavar="NAME", help="answer this domain only; repeatable. It routes no questions"
    )
    asked.add_argument("--queues", metavar="A,B", help="read these queues; default: all of the registry's domains")
    asked.add_argument(
        "--concurrency", type=_how_many, metavar="N", help="queries at once; default: FLYWHEEL_CONCURRENCY"
    )
    asked.add_argument("--name", type=_name, default="flywheel", help="name of this worker, one per machine")
    asked.add_argument("--events", action="store_true", help="send events of tasks, for Flower; costs some speed")
    asked.add_argument(
        "--ready-file",
        type=_ready_file,
        metavar="FILE",
        help="touched every few seconds while the worker takes queries and its broker answers",
    )
    asked.add_argument("--log-level", default="INFO")
    return asked


def _how_many(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100,000")
    return int(text)


def _name(text: str) -> str:
    # Celery takes `@` and `%` for its own, and the name stands in logs and tables.
    if not re.fullmatch(r"[\w.-]{1,128}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of letters, digits, `-`, `_` and `.`, 128 at most")
    return text


def _ready_file(text: str) -> Path:
    """Return the path of a file that can be touched: a worker that cannot would never be called ready."""
    path = Path(text)
    if path.exists() and not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be made: its folder is missing, or is not this user's to write"
        )
    return path


def _known(catalog: Catalog) -> list[str]:
    return [wire.CLASSIFY_QUEUE, *map(wire.domain_queue, catalog.domains), wire.SYNTHESIS_QUEUE]


def _queues(given: argparse.Namespace, catalog: Catalog) -> list[str]:
    """Return the base queues to read. Raises UnknownDomain."""
    named = [name for each in (given.queues or "").split(",") if (name := each.strip())]
    for domain in given.domain or ():
        catalog.in_domain(domain)
        named.append(wire.domain_queue(domain))
    return named or _known(catalog)


if __name__ == "__main__":
    sys.exit(main())
