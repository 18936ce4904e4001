"""Everything at once, drawn at random: nothing accepted is lost, nothing is answered twice, every counter is right.

``python3 run.py test --storm 3`` runs it for three minutes and prints its seed; ``--seed N`` draws the same again.
``--without names`` leaves kinds of queries or faults out, ``--only-faults names`` keeps these faults alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pipeline.house import House
from processes import REPOSITORY, Process
from versions.later import environment, write_later

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.verdicts import Offender
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import TERMINAL
from producer import AsyncProducer
from storm.faults import FAULTS, Fault, RolledBack, Weather, behave, small_disk
from storm.traffic import HOSTILE, MEANT_WELL, Ask, Traffic

#: Seconds in which none of the open queries ends, and after which they are lost. Turns of a session may have to wait
#: one after the other for the only worker of their version.
LAST_ANSWER = 60.0
#: Seconds between two queries.
PACE = (0.01, 0.12)
#: Seconds between two faults.
CALM = (1.0, 6.0)
#: Queries of one owner that are many to wait behind, and how many of them may be called before another owner's.
MANY_WAIT, MOST_PASSED = 15, 8
#: Characters of each log that are kept of a failure.
KEPT_LOG = 200_000


@dataclass
class Count:
    """What a storm counts."""

    seed: int
    #: Which kind each accepted query was.
    accepted: dict[str, str] = field(default_factory=dict)
    #: When it was asked, on the monotonic clock.
    asked: dict[str, float] = field(default_factory=dict)
    #: Queries that the broker's file has lost with its end.
    forgotten: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    #: What callers were told instead of an acceptance.
    refused: Counter[str] = field(default_factory=Counter)
    states: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    offenders: tuple[Offender, ...] = ()
    #: Of each query of the modest owner behind many of the greedy one's: how many of them were called first.
    passed: list[int] = field(default_factory=list)
    #: Errors that no caller should see.
    raw: list[str] = field(default_factory=list)
    #: Workers that ended by themselves, and their last error.
    fallen: dict[str, str] = field(default_factory=dict)

    @property
    def unfair(self) -> bool:
        """Whether the modest owner has waited for the greedy one. A single query may have waited for a fault's end."""
        return bool(self.passed) and median(self.passed) > MOST_PASSED

    @property
    def lost(self) -> list[str]:
        open_ones = (query_id for query_id, state in self.states.items() if state not in TERMINAL)
        return [query_id for query_id in open_ones if query_id not in self.forgotten]

    def table(self) -> str:
        kinds: dict[str, Counter[str]] = {}
        for query_id, kind in self.accepted.items():
            state = self.states.get(query_id, "?")
            became = state if state in TERMINAL else "not kept" if query_id in self.forgotten else "lost"
            kinds.setdefault(kind, Counter())[became] += 1
        columns = ("accepted", "succeeded", "failed", "cancelled", "expired", "not kept", "lost")
        lines = [f"{'kind':<18}" + "".join(f"{name:>11}" for name in columns)]
        for kind, counted in sorted(kinds.items()):
            numbers = [counted.total(), *(counted[name] for name in columns[1:])]
            lines.append(f"{kind:<18}" + "".join(f"{number:>11}" for number in numbers))
        faults = ", ".join(f"{name} {number}" for name, number in sorted(self.faults.items()))
        refused = ", ".join(f"{name} {number}" for name, number in sorted(self.refused.items()))
        return "\n".join(
            [
                f"storm with seed {self.seed}: {len(self.accepted)} accepted, {len(self.lost)} lost, "
                f"{len(self.twice)} answered twice, {len(self.offenders)} offenders, {len(self.raw)} raw errors, "
                f"{len(self.fallen)} workers fallen",
                *lines,
                f"turns: {len(self.passed)} waited behind {MANY_WAIT} or more of another owner; of these came first: "
                f"{f'median {median(self.passed):g}, most {max(self.passed)}' if self.passed else '-'}",
                f"faults: {faults or 'none'}",
                f"not accepted: {refused or 'none'}",
            ]
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[House, Path | None]]:
    with small_disk(tmp_path / "broker") as disk:
        # Two flows on each of the other backends.
        spoken, templated = ["technical-analysis", "stubborn"], ["document-qa", "brief"]
        house = House(tmp_path, aof=True, spoken=spoken, templated=templated)
        try:
            yield house, disk
        finally:
            for worker in house.workers:
                worker.kill()
            house.stop()


@pytest.mark.storm
@pytest.mark.provokes(".")
async def test_nothing_is_lost_in_a_storm(house: tuple[House, Path | None], pytestconfig: pytest.Config) -> None:
    minutes = float(pytestconfig.getoption("--storm"))
    seed = pytestconfig.getoption("--seed")
    count = Count(seed=random.SystemRandom().randrange(10**6) if seed is None else int(seed))
    without = set(str(pytestconfig.getoption("--without")).split(","))
    only = set(filter(None, str(pytestconfig.getoption("--only-faults")).split(",")))
    kinds = [kind for kind in (*MEANT_WELL, *HOSTILE) if kind.__name__ not in without]
    if "hostile" in without:
        kinds = [kind for kind in kinds if kind not in HOSTILE]
    faults = [each for each in FAULTS if each.__name__ not in without and (not only or each.__name__ in only)]
    sys.stderr.write(f"\nstorm of {minutes:g} minutes, --seed {count.seed}\n")
    later = write_later(house[0].folder / "later")
    weather = Weather(house[0], random.Random(f"{count.seed} faults"), house[1], later)
    # A producer of the next version.
    env = {"REDIS_URL": house[0].broker.url, "FLYWHEEL_REGISTRY": str(house[0].registry), **environment(later)}
    command = [sys.executable, "-m", "versions.asking", "--tone", "kind", "--every", "0.5"]
    asking = Process(command, log=house[0].folder / "asking.log", env=env)
    try:
        await asyncio.to_thread(weather.start_workers)
        await blow(house[0], weather, count, kinds, faults, minutes * 60)
    finally:
        asking.send(signal.SIGTERM)
        await asyncio.to_thread(weather.mend)
        await asyncio.to_thread(asking.wait, within=60)
    for query_id, began in re.findall(r"^([0-9a-f]{32}) ([\d.]+)$", asking.log, re.MULTILINE):
        count.accepted[query_id], count.asked[query_id] = "later", float(began)
    count.fallen = weather.fallen
    house[0].reset()
    await settle(house[0], count, weather.rolled_back)
    weather.proxy.close()
    sys.stderr.write(count.table() + "\n")
    if count.lost or count.twice or count.offenders or count.raw or count.fallen or count.unfair:
        pytest.fail(f"{told(house[0], count)}\nkept in {keep(house[0], count)}", pytrace=False)


async def blow(
    house: House, weather: Weather, count: Count, kinds: list[Ask], faults: list[Fault], seconds: float
) -> None:
    """Ask and break for so long."""
    until = time.monotonic() + seconds
    draw, mark = random.Random(f"{count.seed} queries"), uuid.uuid4().hex[:6]
    behave(house)

    async def break_things() -> None:
        while faults and time.monotonic() < until:
            await asyncio.sleep(weather.draw.uniform(*CALM))
            fault = weather.draw.choice(faults)
            count.faults[fault.__name__] += 1
            await asyncio.to_thread(fault, weather)
            await asyncio.to_thread(weather.start_workers)

    async with AsyncProducer(house.settings) as producer:
        traffic = Traffic(house, producer, draw, mark)
        under_way: set[asyncio.Task[None]] = set()
        breaking = asyncio.create_task(break_things())
        while time.monotonic() < until and not (breaking.done() and breaking.exception()):
            task = asyncio.create_task(ask(traffic, draw.choice(kinds), count))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(draw.uniform(*PACE))
        await breaking
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.gather(*under_way, *traffic.later, return_exceptions=True)
        traffic.close()


async def ask(traffic: Traffic, kind: Ask, count: Count) -> None:
    began = time.monotonic()
    try:
        for query_id in await kind(traffic):
            count.accepted[query_id], count.asked[query_id] = kind.__name__, began
    except FlywheelError as refused:
        count.refused[type(refused).__name__] += 1
    except Exception as error:
        # A plain Celery client meets kombu's and redis' own errors; ours must not.
        if kind in HOSTILE or kind.__name__ == "celery_client":
            count.refused[f"Celery's {type(error).__name__}"] += 1
        else:
            count.raw.append(f"{kind.__name__}: {type(error).__name__}: {error}")


async def settle(house: House, count: Count, rolled_back: RolledBack | None) -> None:
    """Wait until everything has ended, or nothing ends any more; then audit and count."""
    deadline, open_ones = time.monotonic() + LAST_ANSWER, len(count.accepted)
    while True:
        # The storm's people have gone.
        async with AsyncProducer(house.settings) as producer:
            for record in await producer.waiting():
                await producer.cancel(record.query_id)
        count.states = {query_id: _state(house, query_id) for query_id in count.accepted}
        count.forgotten = {
            query_id
            for query_id, state in count.states.items()
            if rolled_back and state == "unknown" and rolled_back.may_lack(query_id, count.asked[query_id])
        }
        if len(count.lost) < open_ones:
            deadline, open_ones = time.monotonic() + LAST_ANSWER, len(count.lost)
        if not open_ones or time.monotonic() > deadline:
            break
        await asyncio.sleep(1)
    count.offenders = (await audit(house.settings)).offenders
    count.passed = passed(house, count)
    for query_id in count.accepted:
        events: Any = house.client.xrange(f"flywheel:events:{query_id}")
        if sum(fields["kind"] == "final" for _, fields in events) > 1:
            count.twice.append(query_id)


def passed(house: House, count: Count) -> list[int]:
    """Return for each query of the modest owner how many of the greedy one, which waited, were called before it."""
    times: dict[str, list[tuple[int, int]]] = {"greedy": [], "modest": []}
    for query_id, kind in count.accepted.items():
        if kind in times:
            accepted, called = house.client.hmget(wire.record_key(query_id), "created", "started")
            if accepted and called:
                times[kind].append((int(accepted), int(called)))
    waited = [[called for since, called in times["greedy"] if since < mine[0] < called] for mine in times["modest"]]
    pairs = zip(times["modest"], waited, strict=True)
    return [sum(called < mine[1] for called in those) for mine, those in pairs if len(those) >= MANY_WAIT]


def _state(house: House, query_id: str) -> str:
    state = house.client.hget(f"flywheel:query:{query_id}", "state")
    if state is None and house.client.exists(f"celery-task-meta-{query_id}"):
        return "failed"  # a plain Celery client hears of it, and there is no record of what was no query
    return str(state or "unknown")


def told(house: House, count: Count) -> str:
    """Return what is needed to look further: each lost query with its record, each offender, each raw error."""
    lines = [count.table()]
    for query_id in count.lost[:20]:
        record = house.client.hgetall(f"flywheel:query:{query_id}")
        record.pop("query", None), record.pop("route", None)
        lines.append(f"lost: {query_id!r} ({count.accepted[query_id]}) {record}")
    lines += [f"offender: {each.kind} {each.id} {each.state}: {each.why}" for each in count.offenders[:20]]
    lines += [f"twice: {query_id}" for query_id in count.twice[:20]]
    lines += [f"fallen: {name}: {said}" for name, said in count.fallen.items()]
    lines += [f"raw: {each}" for each in count.raw[:20]]
    return "\n".join(lines)


def keep(house: House, count: Count) -> Path:
    """Keep records, events and the logs' lines of what was lost; return the folder."""
    kept = REPOSITORY / ".flywheel" / "storms" / f"{count.seed}-{time.strftime('%H%M%S')}"
    kept.mkdir(parents=True)
    ids = {*count.lost, *count.twice, *(each.id.partition("|")[0] for each in count.offenders)}
    about = {
        query_id: {
            "kind": count.accepted.get(query_id, "?"),
            "record": house.client.hgetall(f"flywheel:query:{query_id}"),
            "events": house.client.xrange(f"flywheel:events:{query_id}"),
            "log": [
                f"{log.name}: {line[:400]}"
                for log in sorted(house.folder.glob("w*.log"))
                for line in log.read_text(errors="replace").splitlines()
                if query_id in line
            ],
        }
        for query_id in sorted(ids)[:200]
    }
    (kept / "queries.json").write_text(json.dumps(about, indent=1))
    (kept / "offenders.txt").write_text("\n".join(map(repr, count.offenders)))
    for log in house.folder.glob("*.log"):
        (kept / log.name).write_text(log.read_text(errors="replace")[-KEPT_LOG:])
    return kept
