"""What a storm asks: every kind of query, well-meant and hostile. Each kind returns the ids of what was accepted."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from celery import Celery
from pipeline.house import House

from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.stops import Decision
from producer import AsyncProducer
from storm.faults import NEWEST_FLOW

Ask = Callable[["Traffic"], Awaitable[list[str]]]


class Traffic:
    """Draws one query after the other."""

    def __init__(self, house: House, producer: AsyncProducer, draw: random.Random, mark: str) -> None:
        self.house, self.producer, self.draw, self.mark = house, producer, draw, mark
        self.number = 0
        self.client = Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False)
        self.client.conf.broker_transport_options = {"socket_timeout": 3, "max_retries": 1}
        self.later: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        self.client.close()

    def fresh(self, text: str = "How do I connect python to database {}?") -> str:
        self.number += 1
        return text.format(f"{self.mark}-{self.number}")

    async def submit(self, question: str, **fields: Any) -> list[str]:
        return [(await self.producer.submit(question, **fields)).query_id]

    async def send(self, *args: Any, **options: Any) -> list[str]:
        """Send a task as a plain Celery client does. A blocking call, in a thread: the broker may be away."""
        queue = options.pop("queue", "classify")
        sending = asyncio.to_thread(
            self.client.send_task, "flywheel.classify", args, queue=queue, retry=False, **options
        )
        return [(await sending).id]

    def odd_id(self) -> str:
        self.number += 1
        return self.draw.choice(["{} b", '{}"x', "{}\\b", "{}|b"]).format(f"{self.mark}-{self.number}")


async def plain(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), priority=storm.draw.choice(["high", "normal", "low"]))


async def drip(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh("Write a poem about the sea {}"))


async def flaky(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), flow="fragile")


async def limited(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), flow=storm.draw.choice(["sparing", "narrow"]))


async def greedy(storm: Traffic) -> list[str]:
    """One owner asks a flow far more at once than it carries."""
    owner = storm.producer.acting_for("greedy")
    some = await asyncio.gather(*(owner.submit(storm.fresh(), flow="narrow") for _ in range(40)))
    return [each.query_id for each in some]


async def modest(storm: Traffic) -> list[str]:
    """Another owner asks the same flow once."""
    return [(await storm.producer.acting_for("modest").submit(storm.fresh(), flow="narrow")).query_id]


async def newest(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), flow=NEWEST_FLOW)


async def hanging(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), flow="stubborn")


async def renewed(storm: Traffic) -> list[str]:
    cache = storm.draw.choice(["use", "use", "refresh"])
    return await storm.submit(f"brief {storm.mark} {storm.draw.randrange(3)}", flow="brief", cache=cache)


async def fan_out(storm: Traffic) -> list[str]:
    question = "Which database index does the join of case {} need? Which clause of the contract covers liability?"
    return await storm.submit(storm.fresh(question))


async def session(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), session_id=f"{storm.mark}-{storm.draw.randrange(6)}")


async def identical(storm: Traffic) -> list[str]:
    question = f"How do I connect python to database {storm.mark} group {storm.number // 40}?"
    found = await asyncio.gather(*(storm.submit(question) for _ in range(8)))
    return [query_id for one in found for query_id in one]


async def cancelled(storm: Traffic) -> list[str]:
    ids = await storm.submit(storm.fresh(), session_id=storm.draw.choice([None, f"{storm.mark}-0"]))

    async def cancel(after: float) -> None:
        await asyncio.sleep(after)
        await storm.producer.cancel(ids[0])

    task = asyncio.create_task(cancel(storm.draw.uniform(0, 1.5)))
    storm.later.add(task)
    return ids


async def asks(storm: Traffic) -> list[str]:
    """A flow stops and asks a person, who looks now and then and decides; some share a call until it stops."""
    ids = await storm.submit(f"Delete database {storm.mark} {storm.number // 20}?", flow="approval")

    async def decide() -> None:
        for _ in range(200):
            await asyncio.sleep(storm.draw.uniform(0.5, 1.5))
            with suppress(FlywheelError):  # the broker is away, or has forgotten it
                if (record := await storm.producer.status(ids[0])).state.terminal:
                    return
                decision: Decision = storm.draw.choice(["proceed", "proceed", "reject"])
                await storm.producer.resume(ids[0], decision, stop=record.last_stop or None)

    storm.later.add(asyncio.create_task(decide()))
    return ids


async def deadline(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), timeout=storm.draw.uniform(0.2, 4))


async def celery_client(storm: Traffic) -> list[str]:
    return await storm.send(storm.fresh())


async def odd_ids(storm: Traffic) -> list[str]:
    return await storm.send(storm.fresh(), task_id=storm.odd_id())


async def named_arguments(storm: Traffic) -> list[str]:
    return await storm.send(kwargs={"question": storm.fresh()})


async def typed(storm: Traffic) -> list[str]:
    return await storm.submit(storm.fresh(), config={"x": {"__type__": "datetime", "__value__": "no"}})


async def surrogates(storm: Traffic) -> list[str]:
    return await storm.send({"question": storm.fresh(), "metadata": {"name": "\ud83d"}})


async def priorities(storm: Traffic) -> list[str]:
    return await storm.send(storm.fresh(), priority=storm.draw.randrange(10))


async def continued(storm: Traffic) -> list[str]:
    then = storm.client.signature("somebody.collect", queue="collected")
    how = storm.draw.choice([{"link": then}, {"chain": [then]}])
    return await storm.send(storm.fresh(), **how)


async def garbage(storm: Traffic) -> list[str]:
    """Put what nobody can read into a queue; nothing was accepted with it."""
    text: Any = storm.draw.choice(
        [
            "not even json",
            "[" * 100_000,
            json.dumps({"body": "!", "properties": {"delivery_info": {}}}),
            json.dumps({"body": "e30=", "headers": {}, "properties": {"delivery_tag": {}}}),
            b"\xff\xfe",
        ]
    )
    queue = storm.draw.choice(["classify", "domain.technical", "synthesis"])
    await asyncio.to_thread(storm.house.client.lpush, queue, text)
    return []


MEANT_WELL: tuple[Ask, ...] = (
    plain, plain, plain, drip, flaky, limited, newest, hanging, renewed, fan_out, session, session, identical,
    cancelled, deadline, celery_client, asks, greedy, modest, modest,
)  # fmt: skip
HOSTILE: tuple[Ask, ...] = (odd_ids, named_arguments, typed, surrogates, priorities, continued, garbage)
