"""Flowise keeps what every backend promises."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

from agentic_flywheel.backends.flowise import FlowiseBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.servers import FlowServer
from backends.promises import Promises
from backends.scenes import Scene

_IMAGES = [{"fileTypes": ["image/png"], "maxUploadSize": 5}]


class Flowise:
    """Flowise as its recordings have it. It is asked first whether a flow streams, and which files it takes."""

    beside: ClassVar[Mapping[str, Scene]] = {
        "chatflows-streaming": Scene([b'{"isStreaming": true}']),
        "chatflows-uploads": Scene(
            [json.dumps({"isImageUploadAllowed": True, "imgUploadSizeAndTypes": _IMAGES}).encode()]
        ),
    }

    def backend(self, address: str) -> FlowiseBackend:
        return FlowiseBackend(FlowServer(address=address))

    def flow(self, address: str, *, stream: bool) -> Flow:
        return Flow(key="f", id="3c1e0f1a-0000-4000-8000-000000000001", domain="d", server=address)

    def plain(self, text: str) -> Scene:
        return Scene([json.dumps({"text": text, "chatId": "attempt-1"}).encode()])

    def streamed(self, parts: Iterable[str]) -> Scene:
        events = [("token", part) for part in parts]
        return Scene([_event(*each) for each in [*events, ("metadata", {"chatId": "attempt-1"})]], "text/event-stream")

    def failed(self, status: int, reason: str) -> Scene:
        return Scene([json.dumps({"message": reason}).encode()], status=status)


def _event(name: str, data: object) -> bytes:
    return f"message:\ndata:{json.dumps({'event': name, 'data': data})}\n\n".encode()


class TestFlowise(Promises):
    dialect = Flowise()
