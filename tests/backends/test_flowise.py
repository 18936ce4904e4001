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

_ID = "3c1e0f1a-0000-4000-8000-000000000001"
_MOMENT = "2026-11-30T12:00:00.000Z"
_NODE = {
    "name": "startAgentflow",
    "category": "Agent Flows",
    "inputs": {
        "startInputType": "formInput",
        "formInputTypes": [{"name": "colour", "type": "options", "addOptions": [{"option": "teal"}]}],
        "agentTools": [{"agentSelectedToolRequiresHumanInput": True}],
        "llmMessages": [{"role": "system", "content": "Be kind."}],
    },
}
_SETTING = {"name": "temperature", "enabled": True}
_CHATFLOW = {
    "id": _ID,
    "name": "Support",
    "type": "AGENTFLOW",
    "apikeyid": "k-1",
    "updatedDate": _MOMENT,
    "category": "shop",
    "flowData": {"nodes": [{"data": _NODE}]},
    "apiConfig": {
        "overrideConfig": {"status": True, "nodes": {"n": [_SETTING]}, "variables": [_SETTING]},
        "rateLimit": {"status": True, "limitMax": 5, "limitDuration": 60},
    },
    "chatbotConfig": {"welcomeMessage": "Hello", "starterPrompts": {"0": {"prompt": "Why?"}}},
}
_RUN = {"id": "e-1", "state": "STOPPED", "executionData": [{"nodeId": "n", "nodeLabel": "N", "data": {"output": {}}}]}
_MESSAGES = [
    {"role": "userMessage", "chatId": "attempt-1", "content": "Why?", "createdDate": _MOMENT},
    {
        "role": "apiMessage",
        "id": "m-1",
        "chatId": "attempt-1",
        "sessionId": "s-1",
        "content": "Because.",
        "createdDate": _MOMENT,
        "execution": _RUN,
        "usedTools": [{"tool": "t", "toolInput": {}, "toolOutput": "o"}],
        "sourceDocuments": [{"pageContent": "p", "metadata": {}}],
        "followUpPrompts": ["And?"],
    },
]
_IMAGES = [{"fileTypes": ["image/png"], "maxUploadSize": 5}]


class Flowise:
    """Flowise as its recordings have it, with what it says beside answers."""

    beside: ClassVar[Mapping[str, Scene]] = {
        "chatflows-streaming": Scene([b'{"isStreaming": true}']),
        "chatflows-uploads": Scene(
            [json.dumps({"isImageUploadAllowed": True, "imgUploadSizeAndTypes": _IMAGES}).encode()]
        ),
    }
    told: ClassVar[Mapping[str, Scene]] = {
        "chatflows/apikey": Scene([json.dumps([_CHATFLOW]).encode()]),
        "chatflows/": Scene([json.dumps(_CHATFLOW).encode()]),
        "chatflows": Scene([json.dumps({"data": [_CHATFLOW], "total": 1}).encode()]),
        "chatmessage": Scene([json.dumps(_MESSAGES).encode()]),
        "executions": Scene([b"{}"]),
        "ping": Scene([b"pong"], "text/html"),
        "version": Scene([b'{"version": "3.1.4"}']),
    }

    def backend(self, address: str) -> FlowiseBackend:
        return FlowiseBackend(FlowServer(address=address))

    def flow(self, address: str, *, stream: bool) -> Flow:
        return Flow(key="f", id=_ID, domain="d", server=address)

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
