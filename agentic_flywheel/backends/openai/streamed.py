"""Collect a stream of chunks into one completion, and tell what goes on meanwhile. Decides only."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

from agentic_flywheel.backends.contents import MAX_ENTRIES, Json, name_of
from agentic_flywheel.backends.decoding import parse_json
from agentic_flywheel.backends.joined_text import JoinedText
from agentic_flywheel.backends.models import FlowNews
from agentic_flywheel.backends.openai.answer import (
    REASONING_STEP,
    Completion,
    ToolCall,
    call_of,
    called_in,
    first_choice,
    reasoning_in,
    text_in,
    tool_use,
    usage_of,
)
from agentic_flywheel.backends.openai.failure import failure_of_told, told_of
from agentic_flywheel.catalog import Flow
from agentic_flywheel.cutting import cut_value
from agentic_flywheel.doings import RUNNING
from agentic_flywheel.errors import AnswerTooLong, FlowProtocolError, ServerUnreachable
from agentic_flywheel.models import EventKind

#: Characters of one text in news: who follows wants to know what goes on, and the answer has the whole.
MAX_NEWS_TEXT = 2_000
_DONE = b"[DONE]"


class StreamedCompletion:
    """Collects a stream's lines until it is complete. ``add`` returns what is to be told of them."""

    def __init__(self, flow: Flow, secrets: Collection[str]) -> None:
        self._flow, self._secrets = flow, secrets
        self._text, self._reasoning, self._refusal = (JoinedText(flow.key) for _ in range(3))
        self._calls: dict[int, ToolCall] = {}
        self._arguments: dict[int, JoinedText] = {}
        self._told = Completion()
        self._reasons_since: float | None = None
        self._begun = False
        #: For how long the model reasoned.
        self.reasoned: timedelta | None = None
        #: Whether the server has said that nothing more comes.
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether the answer is there; what it cost may still come."""
        return bool(self._told.finish)

    def add(self, line: bytes) -> list[FlowNews]:
        """Take one line and return the news in it. Raises the FlowError that a server tells in any line."""
        line = line.strip()
        # An error amid a stream comes as bare JSON from Ollama.
        if not line.startswith((b"data:", b"{")):
            return []
        data = line.removeprefix(b"data:").strip()
        if data == _DONE or not data:
            self.done = self.done or data == _DONE
            return []
        try:
            chunk = parse_json(data)
        except ValueError:
            raise FlowProtocolError(self._flow.key, "a chunk of the stream is not JSON") from None
        if not isinstance(chunk, dict):
            raise FlowProtocolError(self._flow.key, "a chunk of the stream is not an object")
        self._begun = True
        choice = first_choice(chunk)
        if (told := told_of(chunk) or told_of({"error": choice.get("error")})) is not None:
            raise failure_of_told(self._flow, told, secrets=self._secrets)
        return list(self._collect(chunk, choice))

    def _collect(self, chunk: Json, choice: Json) -> Iterator[FlowNews]:
        told = self._told
        told.id = told.id or name_of(chunk.get("id"))
        told.model = told.model or name_of(chunk.get("model"))
        delta = choice.get("delta")
        if isinstance(delta, dict):
            yield from self._of_delta(delta)
        if finish := name_of(choice.get("finish_reason")):
            told.finish = finish
            yield from self._end_of_reasoning()
            for call in self._called():
                use = tool_use(call)
                shown = {"name": use.name, "step": "", "input": cut_value(use.input, MAX_NEWS_TEXT)}
                yield FlowNews(EventKind.TOOL, {**shown, "status": "finished"})
        if isinstance(chunk.get("usage"), dict):
            told.usage = chunk["usage"]

    def _of_delta(self, delta: Mapping[str, Any]) -> Iterator[FlowNews]:
        if self._reasoning.add(reasoning_in(delta)) and self._reasons_since is None:
            self._reasons_since = time.monotonic()
            yield _step(RUNNING)
        for each in called_in(delta):
            self._add_call(each)
        self._refusal.add(text_in(delta.get("refusal")))
        if text := self._text.add(text_in(delta.get("content"))):
            yield from self._end_of_reasoning()
            yield FlowNews(EventKind.TOKEN, {"text": text})

    def _end_of_reasoning(self) -> Iterator[FlowNews]:
        if self._reasons_since is not None and self.reasoned is None:
            self.reasoned = timedelta(seconds=time.monotonic() - self._reasons_since)
            yield _step("finished")

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        given, told = piece.get("index"), call_of(piece)
        number = given if isinstance(given, int) else len(self._calls)
        if number not in self._calls and len(self._calls) >= 2 * MAX_ENTRIES:
            raise AnswerTooLong(self._flow.key, f"it asks for more than {2 * MAX_ENTRIES} tools")
        call = self._calls.setdefault(number, ToolCall())
        call.id, call.name = call.id or told.id, call.name or told.name
        self._arguments.setdefault(number, JoinedText(self._flow.key)).add(told.arguments)

    def _called(self) -> list[ToolCall]:
        return [
            ToolCall(call.id, call.name, str(self._arguments[number])) for number, call in sorted(self._calls.items())
        ]

    def completion(self) -> Completion:
        """Return the whole. Raises ServerUnreachable where the stream broke off, FlowProtocolError where it only ended.

        A server that says ``[DONE]`` without a reason has not finished its answer: vLLM ends so after an error.
        """
        if not self.finished:
            if not (self.done or self._begun):
                raise FlowProtocolError(self._flow.key, "it is no stream of chat completions")
            if not self.done:
                raise ServerUnreachable(self._flow.key, "the stream broke off before the answer was whole")
            raise FlowProtocolError(self._flow.key, "the stream ended without a `finish_reason`")
        told = self._told
        told.text, told.reasoning, told.refusal = str(self._text), str(self._reasoning), str(self._refusal)
        told.calls = self._called()
        return told

    def usage_news(self) -> list[FlowNews]:
        """Return what is to be told of the tokens, where the server has counted them."""
        usage = usage_of(self._told.usage, self._told.model or self._flow.model)
        return [FlowNews(EventKind.USAGE, {**usage.model_dump(exclude_none=True), "step": ""})] if usage else []


def _step(status: str) -> FlowNews:
    return FlowNews(EventKind.STEP, {"id": REASONING_STEP, "name": REASONING_STEP, "status": status})
