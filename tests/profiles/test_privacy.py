"""A confidential profile's text is looked for in every place where it must not be, while all kinds of queries use it.

The marker stands in every text of the profile. Redis is watched by MONITOR, which shows every command with all of its
arguments, Celery's events and published messages included; task messages in it are decoded.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis.asyncio import Redis

from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.errors import FlowFailed
from agentic_flywheel.models import State
from agentic_flywheel.tracing.file_sink import read_lines
from producer import AsyncProducer
from profiles.house import MARKER, STUBBORN, TECHNICAL, ProfileHouse, fresh, session

_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_ARGSREPR = re.compile(r'"argsrepr": ?"(.*?)"')
#: Fan-out, so that a synthesis puts the parts together.
SEVERAL = "Which python database index helps, and which clause of the contract covers liability?"


def decoded(text: str) -> str:
    """Return a text with all that is base64 in it written out, so that nothing hides in a message's body."""

    def plain(match: re.Match[str]) -> str:
        try:
            return match[0] + " " + base64.b64decode(match[0]).decode()
        except ValueError:
            return match[0]

    return _BASE64.sub(plain, text)


def found_in(text: str, word: str) -> bool:
    return word.lower() in decoded(text).lower()


@asynccontextmanager
async def watched(house: ProfileHouse) -> AsyncIterator[list[str]]:
    """Every command that any client sends to the broker meanwhile."""
    said: list[str] = []
    client = Redis.from_url(house.broker.url, decode_responses=True)
    with events_wanted(house):
        async with client.monitor() as monitor:

            async def listen() -> None:
                while True:
                    said.append(str((await monitor.next_command())["command"]))

            listener = asyncio.create_task(listen())
            try:
                yield said
                async with asyncio.timeout(30):  # events are sent behind the tasks
                    while not any("celeryev" in each and "task-succeeded" in decoded(each) for each in said):
                        await asyncio.sleep(0.1)
                await asyncio.sleep(0.3)
            finally:
                listener.cancel()
    await client.aclose()


@contextmanager
def events_wanted(house: ProfileHouse) -> Iterator[None]:
    """Have a queue for Celery's events, as Flower has: without one workers send none."""
    with Celery(broker=house.broker.url, set_as_current=False) as app, app.connection() as connection:
        receiver = app.events.Receiver(connection)
        with receiver.consumer_context():
            yield


def dump(house: ProfileHouse) -> dict[str, str]:
    """Return every key of the broker with all that it holds."""
    read: dict[str, Any] = {
        "string": house.client.get,
        "hash": house.client.hgetall,
        "list": lambda key: house.client.lrange(key, 0, -1),
        "set": house.client.smembers,
        "zset": lambda key: house.client.zrange(key, 0, -1, withscores=True),
        "stream": house.client.xrange,
    }
    return {key: f"{key} {read[str(house.client.type(key))](key)}" for key in house.client.scan_iter()}


def files(house: ProfileHouse) -> dict[str, str]:
    """Return what is in every file of the house but the profiles themselves: logs, traces, fits, the broker's."""
    return {
        str(path): path.read_text(errors="replace")
        for path in house.folder.rglob("*")
        if path.is_file() and house.profiles not in path.parents
    }


def of_flowise(house: ProfileHouse, path: str) -> bool:
    return Path(path) == house.sandbox.log_file


async def traced(house: ProfileHouse, query_ids: list[str]) -> None:
    """Wait until the whole of each query is in the trace files."""
    async with asyncio.timeout(20):
        while True:
            roots = {seen.query_id for seen in read_lines(house.settings.home / "traces") if seen.is_root}
            if roots.issuperset(query_ids):
                return
            await asyncio.sleep(0.2)


async def use_it(alice: AsyncProducer, house: ProfileHouse, about: str) -> list[str]:
    """Ask under the confidential profile in every way there is. Returns the ids."""
    conversation, other = session(), session()
    ids = []
    ways: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"flow": "by-system"},
        {"flow": "by-vars"},
        {"cache": "bypass"},
        {"session_id": conversation},
        {"session_id": conversation},
        {"session_id": other, "flow": "documents"},
        {"session_id": other, "flow": "documents"},
    )
    for fields in ways:
        answer = await alice.ask(f"How does the python database of {about} scale?", profile="vault", wait=20, **fields)
        ids.append(answer.query_id)
    ids.append((await alice.ask(f"{SEVERAL} ({about})", profile="vault", wait=20)).query_id)
    streamed = await alice.submit(f"Explain the python database of {about}", profile="vault")
    events = [event async for event in alice.stream(streamed.query_id)]
    assert "token" in {event.kind for event in events}
    ids.append(streamed.query_id)
    return ids


async def test_a_confidential_profile_s_text_is_nowhere_but_in_its_file_and_in_flowise(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    about = fresh("the works")

    async with watched(house) as commands:
        ids = await use_it(alice, house, about)
        house.behave(TECHNICAL, latency=30)
        cancelled = await alice.submit(f"Is the python database of {about} slow?", profile="vault")
        async with asyncio.timeout(30):
            while (await alice.status(cancelled.query_id)).state is not State.RUNNING:
                await asyncio.sleep(0.02)
        await alice.cancel(cancelled.query_id)

    assert MARKER in str(house.received(f"How does the python database of {about} scale?")), "the test proves nothing"
    assert any(ids[0] in command for command in commands), "the test proves nothing"
    assert [command for command in commands if found_in(command, MARKER)] == []
    assert [key for key, text in dump(house).items() if found_in(text, MARKER)] == []
    await traced(house, [*ids, cancelled.query_id])
    written = files(house)
    assert [path for path, text in written.items() if found_in(text, MARKER) and not of_flowise(house, path)] == []


async def test_what_is_asked_and_answered_under_it_stays_with_its_owner(
    alice: AsyncProducer, bob: AsyncProducer, house: ProfileHouse
) -> None:
    secret = f"zanzibar{fresh('')[2:10]}"  # the sandbox's answers repeat what was asked

    async with watched(house) as commands:
        ids = await use_it(alice, house, secret)
    assert secret in (await alice.wait(ids[0], 30)).text
    shown = [command for command in commands if "celeryev" in command or "argsrepr" in command]
    assert shown
    for command in shown:
        visible = decoded(command) if "celeryev" in command else " ".join(_ARGSREPR.findall(command))
        assert secret not in visible.lower()
    await traced(house, ids)
    leaked = [path for path, text in files(house).items() if secret in text.lower() and not of_flowise(house, path)]
    assert leaked == []
    # In Redis it is in what is its owner's: records, results, events, answers under a key of theirs, sessions.
    kinds = {
        key.split(":")[1] if ":" in key else key[:16] for key, text in dump(house).items() if secret in text.lower()
    }
    assert kinds <= {"query", "celery-task-meta", "events", "answer", "turns"}
    again = await bob.ask(f"How does the python database of {secret} scale?", wait=20)
    assert not again.cached


async def test_what_flowise_says_of_a_failure_is_withheld(alice: AsyncProducer, house: ProfileHouse) -> None:
    house.behave(STUBBORN, fault="error_500")

    with pytest.raises(FlowFailed) as plain:
        await alice.ask(fresh("Why?"), flow="stubborn", profile="payments", wait=20)
    with pytest.raises(FlowFailed) as private:
        await alice.ask(fresh("Why?"), flow="stubborn", profile="vault", wait=20)

    assert "withheld" not in plain.value.message
    assert "withheld" in private.value.message
    letter = next(each for each in await dead_letters(alice.batch) if each.query.profile == "vault")
    assert letter.error.error == private.value.message


async def test_a_later_turn_without_the_profile_does_not_hear_of_what_was_said_under_it(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    for flow in ("documents", "technical"):  # we send its history; Flowise remembers
        conversation = session()
        first, secret, last, inside = (fresh(word) for word in ("First?", "Secret?", "Last?", "Inside?"))
        await alice.ask(first, flow=flow, session_id=conversation, wait=20)
        await alice.ask(secret, flow=flow, session_id=conversation, profile="vault", wait=20)
        await alice.ask(last, flow=flow, session_id=conversation, wait=20)
        await alice.ask(inside, flow=flow, session_id=conversation, profile="vault", wait=20)

        told = {question: house.received_one(question) for question in (first, secret, last, inside)}
        heard = {question: str(body.get("history", "")) for question, body in told.items()}
        assert secret not in heard[last]
        assert MARKER not in str(told[last])
        assert secret in heard[inside]
        assert last in heard[inside]
        sessions = [body.get("overrideConfig", {}).get("sessionId") for body in told.values()]
        # Flowise's own memory of the open conversation never sees a turn of the confidential one.
        assert sessions[1] is None or sessions[1] != sessions[0]
        assert len(await alice.history(conversation)) == 4
