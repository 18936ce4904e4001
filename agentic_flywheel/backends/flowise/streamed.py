"""Collect a stream of Flowise into one FlowAnswer, and tell what goes on meanwhile. Decides only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentic_flywheel.backends.contents import Json, objects
from agentic_flywheel.backends.decoding import decode_json, whole
from agentic_flywheel.backends.flowise.answer import answer_of_fields
from agentic_flywheel.backends.flowise.contents import output_of, usage_of
from agentic_flywheel.backends.flowise.frames import EXECUTED, StreamEvent
from agentic_flywheel.backends.flowise.news import NewsDesk
from agentic_flywheel.backends.joined_text import JoinedText
from agentic_flywheel.backends.models import FlowAnswer, FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError, ServerUnreachable
from agentic_flywheel.models import EventKind

#: Events that hold a list of a field of the answer. Each node of an AgentFlow sends its own.
_LISTS = ("sourceDocuments", "artifacts", "fileAnnotations", "usedTools")


class StreamedAnswer:
    """Collects a stream's events until it is complete. ``add`` returns what is to be told of them."""

    def __init__(self, flow: Flow, chat_id: str | None = None, *, rejected: str | None = None) -> None:
        """``rejected``: as for ``NewsDesk``."""
        self._flow = flow
        self._text = JoinedText(flow.key)
        self._fields: dict[str, Any] = {}
        self._lists: dict[str, list[Json]] = {}
        self._executed: bytes = b""
        self._usage: list[Any] = []
        self._described = False
        self._ended = False
        self._desk = NewsDesk(flow, chat_id, rejected)
        #: The flow's own words for its failure.
        self.failure: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more can come that matters."""
        return self._described or self._ended or self.failure is not None

    def add(self, event: StreamEvent) -> Sequence[FlowNews]:
        """Take one event and return the news in it. Raises FlowProtocolError where the text has no end."""
        name, data = event
        if name == "token":
            text = self._text.add(data) if isinstance(data, str) else ""
            said = [FlowNews(EventKind.TOKEN, {"text": text})] if text else []
            return [*self._desk.of(name, data), *said] if self._desk.holds else said
        if name == EXECUTED:
            self._executed = data
            return []
        self._collect(name, data)
        return list(self._desk.of(name, data))

    def _collect(self, name: str, data: Any) -> None:
        if name == "metadata":
            self._described = True
            if isinstance(data, dict):
                self._fields |= data
        elif name in ("action", "agentReasoning"):
            self._fields[name] = data
        elif name in _LISTS:
            self._lists.setdefault(name, []).extend(objects(data))
        elif name == "usageMetadata":
            self._usage.append(data)
        elif name == "error":
            self.failure = data if isinstance(data, str) else json.dumps(data)
        elif name == "abort":
            self.failure = "the run was cancelled in Flowise"
        elif name == "end":
            self._ended = True

    def answer(self) -> FlowAnswer:
        """Return the whole answer.

        Raises ServerUnreachable where the stream broke off, FlowProtocolError where it ended without an answer.
        """
        if not self._described:
            if not self._ended:
                raise ServerUnreachable(self._flow.key, "the stream broke off before the answer was whole")
            raise FlowProtocolError(self._flow.key, "the stream ended without an answer")
        nodes = objects(_data_of(self._executed))
        text = str(self._text) or _last_content(nodes)
        fields = whole({**self._lists, **self._fields})
        answer = answer_of_fields(self._flow, fields, text=text, nodes=nodes, seen=self._desk.times)
        return answer.model_copy(update={"usage": answer.usage or usage_of(self._usage, model=None)})


def _data_of(frame: bytes) -> Any:
    try:
        return decode_json(frame)["data"]
    except (ValueError, TypeError, KeyError):
        return None


def _last_content(nodes: Sequence[Json]) -> str:
    contents = [output_of(node).get("content") for node in nodes]
    return next((each for each in reversed(contents) if isinstance(each, str)), "")
