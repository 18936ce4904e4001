"""What every test ends with: nothing accepted is lost, and no process has logged an error that nobody expected.

A test names what it provokes: ``@pytest.mark.provokes("regular expression", ...)``. A broker that has ended with
its test, or its stack, may be missed by a worker that ends a moment later.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

import processes
from redis.exceptions import RedisError

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.batch import error_of
from agentic_flywheel.broker.sightings import connect
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import running_stack

_UNEXPECTED = re.compile(r"Traceback \(most recent call last\)|\b(?:ERROR|CRITICAL)\b|\bunexpected", re.MULTILINE)
_DATED = re.compile(r"^\[?\d{4}-\d\d-\d\d", re.MULTILINE)
_PAUSE = timedelta(milliseconds=300)
#: Characters of an entry that are shown.
_SHOWN = 1500

#: What workers say while their broker is not there, or takes no writes: for tests that take it away.
BROKER_AWAY = (
    r"Cannot connect to|Connection to broker lost|broker is away|the broker refuses|the broker does not answer"
    r"|Frequent restarts detected|maybe_refresh_binding_expiry: Redis error"
)
#: What they say of a message that they cannot read.
UNREADABLE = r"is set aside as unreadable"

#: Read before any test changes the environment.
_PLAIN = Settings()
#: How far each log was read.
_read: dict[Path, int] = {}
#: Offenders of each broker that an earlier test was told of.
_told: set[tuple[str, str, str]] = set()
#: Without a call of one of these, no query begins, moves or ends.
_MOVING = ("xadd", "lpush", "rpush")
#: By broker and prefix, how often they had been called when an audit found no open query, and the run of that server.
_at_rest: dict[tuple[str, str], tuple[str, int]] = {}


def look(expected: Sequence[str], *, audited: bool) -> list[str]:
    """Return what is wrong: with ``audited`` what the audit finds, and what logs have said since the last look."""
    found = [(each, expected) for each in audits()] if audited else []
    for log, has_broker in _logs().items():
        allowed = expected if has_broker else [*expected, BROKER_AWAY]
        found += [(f"{log.name}: {entry}", allowed) for entry in _errors(log)]
    return [each[:_SHOWN] for each, allowed in found if not any(re.search(pattern, each) for pattern in allowed)]


# The logs


def _logs() -> dict[Path, bool]:
    """Return every log, and whether the broker of its process is there."""
    ended = {broker.url.rpartition("/")[0] for broker in processes.brokers if not broker.process.alive}
    logs = {each.log_file: not any(url in ended for url in _brokers_of(each)) for each in processes.started}
    for home in processes.homes:
        logs.update(dict.fromkeys(home.glob("logs/*.log"), running_stack(home) is not None))
    return {path: has_broker for path, has_broker in sorted(logs.items()) if path.exists()}


@cache
def _brokers_of(process: processes.Running) -> list[str]:
    """Return the brokers that a process was told of in its environment, without the number of a database."""
    return re.findall(r"redis://[^/\"]+", " ".join(process.env.values()))


def _errors(log: Path) -> list[str]:
    size = log.stat().st_size
    start = _read.get(log, 0)
    _read[log] = size
    if size <= start:
        return []
    with log.open("rb") as file:
        file.seek(start)
        text = file.read(size - start).decode(errors="replace")
    return [entry for entry in entries(text) if _UNEXPECTED.search(entry)]


def entries(text: str) -> list[str]:
    """Return a log's entries. Where lines begin with a date, those without one belong to the line before them.

    Else a traceback, and what is indented, does.
    """
    found: list[list[str]] = []
    traced, dated = False, _DATED.search(text) is not None
    for line in text.splitlines():
        if dated and found and not _DATED.match(line):
            found[-1].append(line)
            continue
        begins = line.startswith("Traceback (most recent call last)")
        if found and (traced or begins or not line.strip() or line[:1].isspace()):
            found[-1].append(line)
            # The line that names the exception ends its traceback.
            traced = begins or (traced and (not line.strip() or line[:1].isspace()))
        else:
            found.append([line])
            traced = begins
    return ["\n".join(lines).rstrip() for lines in found]


# The audit


def audits() -> list[str]:
    """Return the offenders in every broker that workers of the product have read, a line each, once."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(asyncio.run(_audit_all())))
    thread.start()
    thread.join()
    return found


async def _audit_all() -> list[str]:
    found = []
    for settings, alive in _audited_brokers():
        place = (settings.redis_url, settings.key_prefix)
        try:
            moved = await _moves_at(settings)
            if _at_rest.get(place) == moved:
                continue
            # A test may have ended all workers: what is in their queues is still there for the next one.
            read = () if alive else _queues_of(load_catalog(find_registry(settings.registry)))
            audited = await audit(settings, read=read, pause=_PAUSE)
        except (BrokerUnavailable, FlywheelError):  # it ended with the test, or the test has spoilt its registry
            continue
        if not audited.open and not audited.offenders:
            _at_rest[place] = moved
        for each in audited.offenders:
            if each.kind == "queue" and not alive:
                continue  # nor does anybody sweep then
            key = (settings.redis_url, each.kind, each.id)
            if key not in _told:
                _told.add(key)
                found.append(f"audit: {each.kind} {each.id} ({each.state}) waits for {each.waits_for}: {each.why}")
    return found


async def _moves_at(settings: Settings) -> tuple[str, int]:
    """Return the run of a server, and how often a query may have moved in it. Raises BrokerUnavailable."""
    client = connect(settings.redis_url)
    try:
        told = await client.info("server", "commandstats")
    except (RedisError, OSError) as failure:
        raise error_of(settings.broker_address, failure) from None
    finally:
        await client.aclose()
    return told["run_id"], sum(told.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in _MOVING)


def _audited_brokers() -> Iterator[tuple[Settings, bool]]:
    """Yield settings for each broker that workers have read, and whether one of these workers is alive."""
    for broker in processes.brokers:
        if broker.process.alive:
            reading = [each for each in processes.started if _is_worker(each) and each.env["REDIS_URL"] == broker.url]
            for prefix in dict.fromkeys(_prefix_of(each) for each in reading):
                workers = [each for each in reading if _prefix_of(each) == prefix]
                registry = workers[-1].env.get("FLYWHEEL_REGISTRY")
                place = {"redis_url": broker.url, "key_prefix": prefix}
                named = {**place, "registry": Path(registry) if registry else None}
                yield _PLAIN.model_copy(update=named), any(worker.alive for worker in workers)
    for home in processes.homes:
        stack = running_stack(home)
        if stack is not None:
            yield _PLAIN.model_copy(update={"redis_url": stack.redis_url}), True


def _prefix_of(worker: processes.Running) -> str:
    return worker.env.get("FLYWHEEL_KEY_PREFIX", "")


def _is_worker(process: processes.Running) -> bool:
    return "workers" in getattr(process, "command", ()) and "REDIS_URL" in process.env


def _queues_of(catalog: Catalog) -> list[str]:
    bases = (wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, *map(wire.domain_queue, catalog.domains))
    return [band for base in bases for band in wire.bands(base)]
