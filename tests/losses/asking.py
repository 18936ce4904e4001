"""Questions of all kinds without a pause, and whether what a broker held of them has ended once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from celery import Celery
from pipeline.house import House
from processes import wait_for
from rolled_back import Kept, continued_in, finals_of

from agentic_flywheel.broker.audit import audit
from agentic_flywheel.models import TERMINAL
from producer import AsyncProducer

#: Seconds between two questions.
PACE = 0.05
OF_TWO = "Which database index does the join of case {} need? Which clause of the contract covers liability?"
COLLECTED = "collected"


class Asker:
    """Asks questions of all kinds, in an order that a seed decides."""

    def __init__(self, producer: AsyncProducer, client: Celery, draw: random.Random) -> None:
        self.producer, self.client, self.draw = producer, client, draw
        self.mark, self.number = uuid.uuid4().hex[:6], 0

    def fresh(self, text: str = "How do I connect python to database {}?") -> str:
        self.number += 1
        return text.format(f"{self.mark}-{self.number}")

    async def ask(self) -> None:
        kinds = (self.plain, self.plain, self.limited, self.of_two, self.turn, self.identical, self.celerys)
        await self.draw.choice(kinds)()

    async def plain(self) -> None:
        await self.producer.submit(self.fresh())

    async def limited(self) -> None:
        await self.producer.submit(self.fresh(), flow="narrow")

    async def of_two(self) -> None:
        await self.producer.submit(self.fresh(OF_TWO))

    async def turn(self) -> None:
        await self.producer.submit(self.fresh(), session_id=f"{self.mark}-{self.draw.randrange(4)}")

    async def identical(self) -> None:
        question = f"How do I connect python to database {self.mark} {self.number // 30}?"
        await asyncio.gather(*(self.producer.submit(question) for _ in range(4)))

    async def celerys(self) -> None:
        then = self.client.signature("somebody.collect", queue=COLLECTED)
        options: dict[str, Any] = {"link": then} if self.draw.random() < 0.5 else {}
        await asyncio.to_thread(
            self.client.send_task, "flywheel.classify", [self.fresh()], queue="classify", retry=False, **options
        )


@asynccontextmanager
async def asked_without_pause(house: House, draw: random.Random) -> AsyncIterator[None]:
    """Meanwhile questions of all kinds are asked. Those that a broker without its end refuses are not counted."""

    async def ask(asker: Asker) -> None:
        with contextlib.suppress(Exception):
            await asker.ask()

    async def ask_on(asker: Asker) -> None:
        asking: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(ask(asker))
                asking.add(task)
                task.add_done_callback(asking.discard)
                await asyncio.sleep(PACE)
        finally:
            for task in asking:
                task.cancel()

    async with AsyncProducer(house.settings) as producer:
        with Celery(broker=house.broker.url, set_as_current=False) as client:
            client.conf.broker_transport_options = {"socket_timeout": 3, "max_retries": 1}
            asking = asyncio.create_task(ask_on(Asker(producer, client, draw)))
            try:
                yield
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)


async def all_end_once(house: House, kept: Kept, patience: float) -> None:
    """Assert it of what a broker held, that what had ended is as it was, and that the audit finds nothing."""
    assert kept.waiting
    await asyncio.to_thread(wait_for, lambda: all_over(house, kept), within=3 * patience, what="all has ended")
    assert {query_id: finals_of(house.client, query_id) for query_id in kept.waiting} == dict.fromkeys(kept.waiting, 1)
    for query_id, ended in kept.ended.items():
        found = house.client.hget(f"flywheel:query:{query_id}", "finished"), finals_of(house.client, query_id)
        assert found == ended
    to_follow = set(filter(partial(has_succeeded, house), kept.continued))  # a link follows success only

    def are_followed() -> bool:
        return to_follow <= continued_in(house.client, COLLECTED)

    await asyncio.to_thread(wait_for, are_followed, within=patience, what="the links of what succeeded are followed")
    assert (await audit(house.settings)).offenders == ()


def has_succeeded(house: House, query_id: str) -> bool:
    return house.client.hget(f"flywheel:query:{query_id}", "state") == "succeeded"


def all_over(house: House, kept: Kept) -> bool:
    with house.client.pipeline(transaction=False) as pipe:
        for query_id in kept.waiting:
            pipe.hget(f"flywheel:query:{query_id}", "state")
        return all(state in TERMINAL for state in pipe.execute())
