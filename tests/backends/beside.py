"""Each method of the protocol that asks beside questions: how it is called, what it may return, how it may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import astuple
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter

from agentic_flywheel.backends import FlowAnswer, FlowBackend, FlowCall, FlowReport, ListedFlow, Probe
from agentic_flywheel.catalog import Flow, FormField
from agentic_flywheel.errors import FlowError

CHAT = "attempt-1"
#: Each method that asks a server beside questions: how it is called, and what it may return.
ASKED: dict[str, tuple[Callable[[FlowBackend, Flow, SecretStr], Awaitable[object]], Any]] = {
    "prepare": (
        lambda backend, flow, key: backend.prepare(
            FlowCall(flow=flow, question="Why?", chat_id=CHAT, config={"temperature": 0.5}, form={"colour": "teal"}),
            api_key=key,
        ),
        FlowCall,
    ),
    "find": (lambda backend, flow, key: backend.find(flow, CHAT, api_key=key), FlowAnswer | None),
    "abort": (lambda backend, flow, key: backend.abort(flow, CHAT, stopped=True, api_key=key), None),
    "probe": (lambda backend, flow, key: backend.probe(flow, api_key=key), Probe),
    "examine": (lambda backend, flow, key: backend.examine(flow, api_key=key), FlowReport),
    "list_flows": (lambda backend, flow, key: backend.list_flows(api_key=key), tuple[ListedFlow, ...]),
}
#: Of one text of what a server says of itself and of its flows.
LONGEST_NAME = 1_000
STATUSES = (199, 201, 203, 206, 226, 299, 300, 305, 399, 400, 402, 405, 409, 413, 418, 451, 499, 501, 505, 529, 599)
#: Loop time passes so many times as fast where a test waits for time-outs.
HURRY = 100


def may_be_said(name: str, found: object, key: str) -> None:
    """Fail where a method returned something else than it may, or what cannot be shown or kept."""
    value = TypeAdapter(ASKED[name][1]).validate_python(found)
    assert TypeAdapter(ASKED[name][1]).dump_json(value)
    if not isinstance(found, FlowAnswer | FlowCall):  # these are looked at where questions are
        assert key not in str(found) or not isinstance(found, FlowReport)
        for text in _texts(found):
            # What is to be copied into a registry is whole.
            assert len(text) <= LONGEST_NAME or "give the registry" in text, (name, text[:100])
            assert text.isprintable(), (name, text[:100])


def may_fail(failed: FlowError, key: str) -> None:
    """Fail where an error does not say what happened, what to do, and when to try again."""
    info = failed.describe()
    assert info.model_dump_json()
    assert key not in f"{failed!r} {info}"
    assert 0 < len(info.error) < 1_000
    assert len(info.recovery_suggestions) >= 3
    assert 0 <= info.retry_after <= 3_600
    assert (info.retry_after > 0) == failed.transient


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, FormField):
        pass  # its name and options are sent as they are
    elif isinstance(value, BaseModel):
        yield from _texts(list(value.__dict__.values()))
    elif isinstance(value, Probe | ListedFlow):
        yield from _texts(list(astuple(value)))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the running loop's time pass ``HURRY`` times as fast."""
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]
    time, select, began = loop.time, selector.select, loop.time()
    monkeypatch.setattr(loop, "time", lambda: began + (time() - began) * HURRY)
    monkeypatch.setattr(selector, "select", lambda timeout=None: select(timeout and timeout / HURRY))
