"""Whatever the broker does, every public method ends in time, with an error of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from bad_broker import Answers, refuses, says, serving

from agentic_flywheel.broker.refusals import REFUSALS, Remedy
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, FlywheelError, InvalidQuery, RecordUnreadable
from agentic_flywheel.settings import Settings
from producer import AsyncProducer, Producer

ID = "0" * 12 + "4" + "0" * 3 + "8" + "0" * 15
#: One call of every public method that talks to the broker.
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "submit": (("Why?",), {}),
    "submit_many": ((["Why?", "How?"],), {}),
    "ask": (("Why?",), {}),
    "wait": ((ID,), {}),
    "stream": ((ID,), {}),
    "status": ((ID,), {}),
    "recent": ((), {}),
    "records": (([ID],), {}),
    "cancel": ((), {"everything": True}),
    "resume": ((ID, "proceed"), {}),
    "waiting": ((), {}),
    "reroute": ((ID, "technical-analysis"), {}),
    "score": ((ID, 7), {}),
    "history": (("a-session",), {}),
    "use_profile": (("a-session", None), {}),
}
TALKS_TO_NOBODY = {"close", "acting_for", "batch", "catalog", "profiles"}
#: Seconds in which each call must have ended: two to connect, five for an answer, and a loaded machine.
IN_TIME = 25.0


def test_every_public_method_is_walked() -> None:
    assert set(CALLS) | TALKS_TO_NOBODY == {name for name in vars(AsyncProducer) if not name.startswith("_")}


def settings_for(url: str, home: Path) -> Settings:
    return Settings(redis_url=url, home=home, langfuse_public_key=None)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitting many waits as long for a broker that comes back, which these do not."""
    monkeypatch.setattr("producer.submitting.SUBMIT_PATIENCE", 0.2)


async def error_of(url: str, home: Path, name: str, *, wait: float = 0.5) -> BaseException | None:
    """Return how a call ends. ``wait``: seconds in which an answer is waited for."""
    arguments, fields = CALLS[name]
    arguments = (ID, wait) if name == "wait" else arguments
    fields = {"wait": wait} if name == "ask" else fields
    async with AsyncProducer(settings_for(url, home)) as producer:
        try:
            async with asyncio.timeout(IN_TIME):
                found = getattr(producer, name)(*arguments, **fields)
                result = await (anext(found) if name == "stream" else found)
        except BaseException as error:
            return error
    return result[0] if isinstance(result, list) and result else None


async def errors_of(answers: Answers, home: Path, *, wait: float = 0.5) -> dict[str, BaseException | None]:
    async with serving(answers) as url:
        found = await asyncio.gather(*(error_of(url, home, name, wait=wait) for name in CALLS))
    return dict(zip(CALLS, found, strict=True))


@pytest.mark.parametrize("at_once", [True, False], ids=["at the handshake", "after it"])
@pytest.mark.parametrize("code", [each.code for each in REFUSALS] + ["ERR", "WHATEVER"])
async def test_every_refusal_becomes_an_error_of_ours(code: str, at_once: bool, tmp_path: Path) -> None:
    passes = {each.code for each in REFUSALS if each.remedy is not Remedy.PERSON}
    expected = BrokerUnavailable if code in passes else BrokerRefused

    # What a person has to mend is said at once, which on a busy machine is later than half a second.
    wait = 0.5 if code in passes else 20.0
    found = await errors_of(refuses(f"{code} said the server", at_once=at_once), tmp_path, wait=wait)

    told = {name: type(error) for name, error in found.items()}
    if code == "WRONGTYPE":  # of one query, one session and the like it says which; and lists go on without it
        assert set(told.values()) <= {BrokerRefused, RecordUnreadable, type(None)}
        return
    assert told == dict.fromkeys(CALLS, expected)


BROKEN = {
    "hangs": says(None),
    "hangs after the handshake": says(None, at_once=False),
    "closes": says(b""),
    "closes after the handshake": says(b"", at_once=False),
    "is a web server": says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "sends noise": says(bytes(range(256))),
    "sends noise after the handshake": says(bytes(range(255, 0, -1)), at_once=False),
    "stops in the middle": says(b"$100\r\nhalf", at_once=False),
}


@pytest.mark.parametrize("answers", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broker_that_answers_wrongly_is_an_error_of_ours(answers: Answers, tmp_path: Path) -> None:
    found = await errors_of(answers, tmp_path)

    wrong = {name: error for name, error in found.items() if not isinstance(error, BrokerUnavailable | BrokerRefused)}
    assert wrong == {}


async def test_what_is_not_utf_8_concerns_what_is_read_and_lists_go_on_without_it(tmp_path: Path) -> None:
    found = await errors_of(says(b"$2\r\n\xff\xfe\r\n", at_once=False), tmp_path, wait=20.0)

    assert {type(error) for error in found.values()} <= {BrokerRefused, RecordUnreadable, type(None)}
    said = {name: str(error) for name, error in found.items() if error is not None}
    assert "not UTF-8" in said["status"]
    assert "not UTF-8" in said["submit"]
    assert all("not UTF-8" in each for each in said.values())


def refused(call: Callable[..., Any], *arguments: Any, **fields: Any) -> None:
    found: Any = call(*arguments, **fields)
    if isinstance(found, list):
        raise found[0]
    next(found)


async def test_the_blocking_producer_tells_the_same(tmp_path: Path) -> None:
    def walk(url: str) -> Iterable[type]:
        with Producer(settings_for(url, tmp_path)) as producer:
            for name, (arguments, fields) in CALLS.items():
                began = time.monotonic()
                with pytest.raises(FlywheelError) as caught:
                    refused(getattr(producer, name), *arguments, **fields)
                assert time.monotonic() - began < IN_TIME
                yield type(caught.value)

    async with serving(refuses("NOPERM no", at_once=False)) as url:
        found = await asyncio.to_thread(lambda: list(walk(url)))

    assert found == [BrokerRefused] * len(CALLS)


@pytest.mark.parametrize("bad", ["\ud83d", "a\ud800b", ""])
async def test_an_id_that_cannot_be_written_is_refused_by_name(settings: Settings, bad: str) -> None:
    async with AsyncProducer(settings) as producer:
        for name in ("wait", "stream", "status", "cancel", "score", "history", "reroute", "use_profile"):
            arguments = (bad, *CALLS[name][0][1:])
            found = getattr(producer, name)(*arguments)
            with pytest.raises(FlywheelError) as caught:
                await (anext(found) if name == "stream" else found)
            str(caught.value).encode()


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1, "soon", 1e12])
async def test_a_wait_that_is_no_time_is_refused_and_nothing_is_submitted(settings: Settings, wait: Any) -> None:
    async with AsyncProducer(settings) as producer:
        with pytest.raises(InvalidQuery) as asked:
            await producer.ask("Why?", wait=wait)
        with pytest.raises(InvalidQuery) as waited:
            await producer.wait(ID, wait)
        assert await producer.recent() == []

    assert asked.value.field_name == waited.value.field_name == "wait"
