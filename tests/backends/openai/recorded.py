"""Exchanges that were recorded with a LiteLLM proxy 1.108.7, and what is asked of a server that plays them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agentic_flywheel.backends import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.openai import OpenAIBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError
from agentic_flywheel.servers import FlowServer
from backends.scenes import Scene, SceneServer, serving

#: The response to each; of the headers, those that are read here.
RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "litellm.json").read_text())
KEY = SecretStr("sk-master")
STREAM = "text/event-stream"


def flow(**fields: Any) -> Flow:
    return Flow(**{"key": "f", "id": "f", "domain": "d", "backend": "openai", "model": "m-1", "timeout": 5, **fields})


def scene(name: str) -> Scene:
    """Return a recorded response."""
    told = RECORDED[name]
    parts = [each.encode() for each in told.get("chunks", ())] or [json.dumps(told["json"]).encode()]
    others = {name: value for name, value in told["headers"].items() if name != "Content-Type"}
    return Scene(parts, told["headers"]["Content-Type"], told["status"], others)


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """Return a line of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'c-1', 'model': 'm-1', 'choices': [choice], **more})}\n\n".encode()


def said(*lines: bytes) -> Scene:
    """Return a stream of these lines."""
    return Scene(lines, STREAM)


def completed(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Scene:
    """Return a plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Scene([json.dumps({"id": "c-1", "model": "m-1", "choices": [choice], **more}).encode()])


@asynccontextmanager
async def playing(*scenes: Scene) -> AsyncIterator[tuple[OpenAIBackend, SceneServer]]:
    """Serve these responses, one for each request, and give the backend that asks for them."""
    async with serving(*scenes) as server:
        backend = OpenAIBackend(FlowServer(address=server.address, backend="openai"))
        try:
            yield backend, server
        finally:
            await backend.close()


async def outcome(*scenes: Scene, told: list[FlowNews] | None = None, **call: Any) -> FlowAnswer | FlowError:
    """Return what a call comes to that is answered like this."""
    async with playing(*scenes) as (backend, _):
        try:
            return await backend.ask(
                FlowCall(**{"flow": flow(), "question": "Why?", **call}),
                api_key=KEY,
                on_news=None if told is None else told.append,
            )
        except FlowError as failed:
            return failed


async def answer(*scenes: Scene, told: list[FlowNews] | None = None, **call: Any) -> FlowAnswer:
    found = await outcome(*scenes, told=told, **call)
    assert isinstance(found, FlowAnswer), found
    return found


async def failure(*scenes: Scene, **call: Any) -> FlowError:
    found = await outcome(*scenes, **call)
    assert isinstance(found, FlowError), found
    return found


def texts(told: Sequence[FlowNews]) -> list[str]:
    return [str(each.data["text"]) for each in told if "text" in each.data]
