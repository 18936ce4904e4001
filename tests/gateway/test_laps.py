"""Turns of requests: a burst of requests keeps nobody waiting who has nothing to do with it."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.settings import Settings
from http_gateway.entrance import Entrance
from http_gateway.gateway import Gateway
from http_gateway.laps import AT_ONCE, RequestTurns
from http_gateway.openai import OPENAI
from http_gateway.traffic import Traffic


async def test_a_probe_is_answered_in_the_middle_of_a_burst() -> None:
    answered: list[str] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])

    entrance = Entrance(inside, Gateway(Settings(), Tokens()), (OPENAI,), Traffic())

    async def asked(path: str) -> None:
        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"127.0.0.1")]}
        await entrance({**scope, "query_string": b"", "raw_path": path.encode()}, _nothing_received, _nothing_sent)

    burst = [asyncio.create_task(asked("/v1/models")) for _ in range(20 * AT_ONCE)]
    await asyncio.gather(asyncio.create_task(asked("/healthz")))
    before = answered.index("/healthz")
    await asyncio.gather(*burst)

    assert before <= 2 * AT_ONCE
    assert answered.count("/v1/models") == len(burst)


async def test_turns_come_in_order_and_those_of_clients_that_went_away_are_given_on() -> None:
    turns, begun = RequestTurns(), list[int]()

    async def request(number: int) -> None:
        await turns.turn()
        begun.append(number)

    burst = [asyncio.create_task(request(number)) for number in range(5 * AT_ONCE)]
    await asyncio.sleep(0)
    for gone in burst[AT_ONCE : 3 * AT_ONCE]:
        gone.cancel()
    await asyncio.gather(*burst, return_exceptions=True)
    # Later, when no lap is under way.
    await asyncio.sleep(0.01)
    await request(-1)

    assert begun == [*range(AT_ONCE), *range(3 * AT_ONCE, 5 * AT_ONCE), -1]


async def _nothing_received() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nothing_sent(message: Message) -> None:
    pass
