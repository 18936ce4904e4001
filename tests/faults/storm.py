"""Queries under way while something breaks: every one is counted to exactly one final answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.house import House

from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.models import State
from producer import AsyncProducer

#: What a query of the storm asks; the number makes each one's own.
QUESTIONS = (
    "How do I connect a python service to database {}?",
    "Write a poem about painting {}",
    "Which clause of contract {} covers liability?",
)


@dataclass
class Tally:
    """What became of a storm's queries."""

    sent: int = 0
    lost: list[str] = field(default_factory=list)
    #: Queries whose final answer was written more than once.
    twice: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Calls of a flow for a question after its first.
    calls_beyond: int = 0
    #: From the fault's end to the last answer.
    seconds: float = 0.0

    def line(self, name: str) -> str:
        said = ", ".join(f"{outcome} {count}" for outcome, count in sorted(self.outcomes.items()))
        return (
            f"{name:<34} sent {self.sent:>4}  lost {len(self.lost)}  twice {len(self.twice)}  "
            f"calls beyond the first {self.calls_beyond:>3}  last answer {self.seconds:5.1f} s  ({said})"
        )


async def storm(
    house: House,
    fault: Callable[[], Awaitable[None]],
    *,
    count: int,
    spread: float = 2.0,
    patience: float = 90.0,
) -> Tally:
    """Submit ``count`` mixed queries over ``spread`` seconds, break something in the middle, and count what comes."""
    tally, mark = Tally(sent=count), uuid.uuid4().hex[:6]
    numbers = list(range(count))
    random.Random(mark).shuffle(numbers)
    async with AsyncProducer(house.settings) as producer:
        ids: list[str] = []
        questions: list[str] = []

        async def send() -> None:
            for number in numbers:
                question = QUESTIONS[number % 3].format(f"{mark}-{number}")
                questions.append(question)
                ids.append(await _accepted(producer, question))
                await asyncio.sleep(spread / count)

        async def breaking() -> float:
            await asyncio.sleep(spread / 2)
            await fault()
            return time.monotonic()

        _, ended = await asyncio.gather(send(), breaking())

        async def outcome(query_id: str) -> None:
            try:
                await producer.wait(query_id, patience)
                tally.outcomes["answered"] += 1
            except FlywheelError as error:
                tally.outcomes[type(error).__name__] += 1

        await asyncio.gather(*(outcome(query_id) for query_id in ids))
        tally.seconds = max(0.0, time.monotonic() - ended)
        for record in await producer.records(ids):
            if record is None or record.state not in (State.SUCCEEDED, State.FAILED):
                tally.lost.append("unknown" if record is None else f"{record.query_id} {record.state} {record.reason}")
        for query_id in ids:
            finals = [kind for _, kind in _events(house, query_id) if kind == "final"]
            if len(finals) > 1:
                tally.twice.append(query_id)
    tally.calls_beyond = sum(max(0, _calls(house).get(question, 0) - 1) for question in questions)
    return tally


async def _accepted(producer: AsyncProducer, question: str) -> str:
    """Submit, and again while the broker is away: what was not accepted is the caller's to repeat."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return (await producer.submit(question)).query_id
        except BrokerUnavailable:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.2)


def _events(house: House, query_id: str) -> list[tuple[str, str]]:
    entries: list[Any] = house.client.xrange(f"flywheel:events:{query_id}") or []
    return [(entry, fields["kind"]) for entry, fields in entries]


def _calls(house: House) -> dict[str, int]:
    try:
        with urllib.request.urlopen(f"{house.flowise_url}/sandbox/calls", timeout=30) as response:
            counted: dict[str, int] = json.load(response)["questions"]
            return counted
    except OSError:
        return {}
