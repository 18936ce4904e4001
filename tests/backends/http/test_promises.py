"""The HTTP backend keeps what every backend promises."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

from agentic_flywheel.backends.http import HttpBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.http_flows import (
    AnswerPlace,
    Frame,
    HttpRequest,
    LateAnswer,
    RequestTemplate,
    ServerProbe,
    StreamRule,
)
from agentic_flywheel.servers import FlowServer
from backends.promises import Promises
from backends.scenes import Scene


class Service:
    """A service of one's own: JSON, and a stream of lines of JSON. It keeps its answers."""

    beside: ClassVar[Mapping[str, Scene]] = {}
    told: ClassVar[Mapping[str, Scene]] = {
        "/answers": Scene([json.dumps([{"chat": "attempt-1", "answer": "Because."}]).encode()]),
        "/runs": Scene([b"{}"]),
        "/health": Scene([b'{"version": "7"}']),
    }

    def backend(self, address: str) -> HttpBackend:
        return HttpBackend(FlowServer(address=address, backend="http"))

    def flow(self, address: str, *, stream: bool) -> Flow:
        given = ("question", "session_id", "history", "uploads", "form", "config", "chat_id")
        rule = StreamRule(token=Frame(when={"/type": "part"}, at="/text"), end=Frame(when={"/type": "end"}))
        return Flow(
            key="f",
            id="f",
            domain="d",
            server=address,
            backend="http",
            request=RequestTemplate(
                path="/ask",
                body={each: f"{{{{{each}}}}}" for each in given},
                abort=HttpRequest(method="DELETE", path="/runs/{{chat_id}}"),
                probe=ServerProbe(path="/health", version="/version"),
            ),
            answer=AnswerPlace(
                text="/answer",
                error="/wrong",
                stream=rule if stream else None,
                late=LateAnswer(
                    request=HttpRequest(method="GET", path="/answers"),
                    where={"/chat": "{{chat_id}}"},
                    text="/answer",
                ),
            ),
        )

    def plain(self, text: str) -> Scene:
        return Scene([json.dumps({"answer": text}).encode()])

    def streamed(self, parts: Iterable[str]) -> Scene:
        told = [{"type": "part", "text": part} for part in parts]
        return Scene([json.dumps(each).encode() + b"\n" for each in [*told, {"type": "end"}]])

    def failed(self, status: int, reason: str) -> Scene:
        return Scene([json.dumps({"wrong": reason}).encode()], status=status)


class TestHttp(Promises):
    dialect = Service()
