"""Servers that speak OpenAI's chat completions keep what every backend promises."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

from agentic_flywheel.backends.openai import OpenAIBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.servers import FlowServer
from backends.promises import Promises
from backends.scenes import Scene


class Completions:
    """Chat completions, as OpenAI documents them."""

    beside: ClassVar[Mapping[str, Scene]] = {}
    told: ClassVar[Mapping[str, Scene]] = {
        "/models": Scene([json.dumps({"data": [{"id": "m-1", "name": "M", "mode": "chat"}]}).encode()])
    }

    def backend(self, address: str) -> OpenAIBackend:
        return OpenAIBackend(FlowServer(address=address, backend="openai"))

    def flow(self, address: str, *, stream: bool) -> Flow:
        return Flow(key="f", id="f", domain="d", server=address, backend="openai", model="m-1")

    def plain(self, text: str) -> Scene:
        message = {"role": "assistant", "content": text}
        return Scene([json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()])

    def streamed(self, parts: Iterable[str]) -> Scene:
        told = [{"delta": {"content": part}, "finish_reason": None} for part in parts]
        chunks = [{"choices": [each]} for each in [*told, {"delta": {}, "finish_reason": "stop"}]]
        return Scene([f"data: {json.dumps(each)}\n\n".encode() for each in chunks], "text/event-stream")

    def failed(self, status: int, reason: str) -> Scene:
        error = {"message": reason, "type": None, "param": None, "code": None}
        return Scene([json.dumps({"error": error}).encode()], status=status)


class TestOpenAI(Promises):
    dialect = Completions()
