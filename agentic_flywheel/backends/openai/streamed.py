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
    choice_in,
    number_of,
    reasoning_in,
    text_in,
    tool_use,
    transcript_in,
    unkept_in,
    usage_of,
)
from agentic_flywheel.backends.openai.failure import failure_of_told, told_of
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.cutting import cut_value
from agentic_flywheel.doings import RUNNING
from agentic_flywheel.errors import AnswerTooLong, FlowProtocolError, ServerUnreachable
from agentic_flywheel.models import EventKind

#: Characters of one text in news: who follows wants to know what goes on, and the answer has the whole.
MAX_NEWS_TEXT = 2_000
#: Kinds of parts beside text that are told of.
_MOST_KINDS = 10
_DONE = b"[DONE]"


class StreamedCompletion:
    """Collects a stream's frames until it is complete. ``add`` returns what is to be told of them."""

    def __init__(self, flow: Flow, secrets: Collection[str]) -> None:
        self._flow, self._secrets = flow, secrets
        self._text, self._reasoning, self._refusal = (JoinedText(flow.key) for _ in range(3))
        self._calls: list[tuple[ToolCall, JoinedText]] = []
        #: Which of these each number of the stream means.
        self._numbers: dict[int, int] = {}
        self._told = Completion()
        self._reasons_since: float | None = None
        self._begun = False
        #: Of several choices, the one that is taken.
        self._number: int | None = None
        #: For how long the model reasoned.
        self.reasoned: timedelta | None = None
        #: Whether the server has said that nothing more comes.
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether the answer is there; what it cost may still come."""
        return bool(self._told.finish)

    def add(self, data: bytes) -> list[FlowNews]:
        """Take the data of one frame and return the news in it. Raises the FlowError that a server tells there."""
        data = data.strip()
        self.done = self.done or data == _DONE
        if self.done or not data:
            return []
        try:
            chunk = parse_json(data)
        except ValueError:
            begins = clean(data[:600].decode(errors="replace"), secrets=self._secrets)
            raise FlowProtocolError(self._flow.key, f"a chunk of the stream is not JSON: {begins}") from None
        if not isinstance(chunk, dict):
            raise FlowProtocolError(self._flow.key, "a chunk of the stream is not an object")
        self._begun = True
        choice = choice_in(chunk, self._number)
        if choice and self._number is None:
            self._number = number_of(choice)
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
        if len(self._told.unkept) < _MOST_KINDS:
            self._told.unkept |= unkept_in(delta)
        if text := self._text.add(text_in(delta.get("content")) or transcript_in(delta)):
            yield from self._end_of_reasoning()
            yield FlowNews(EventKind.TOKEN, {"text": text})

    def _end_of_reasoning(self) -> Iterator[FlowNews]:
        if self._reasons_since is not None and self.reasoned is None:
            self.reasoned = timedelta(seconds=time.monotonic() - self._reasons_since)
            yield _step("finished")

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        given, told = piece.get("index"), call_of(piece)
        at = self._numbers.get(given) if isinstance(given, int) else len(self._calls) - 1
        # Some number no call, others number all of them 0: a name, or another id, then begins the next one.
        if at is None or at < 0 or self._begins(self._calls[at][0], told, numbered=isinstance(given, int)):
            if len(self._calls) >= 2 * MAX_ENTRIES:
                raise AnswerTooLong(self._flow.key, f"it asks for more than {2 * MAX_ENTRIES} tools")
            at = len(self._calls)
            self._calls.append((ToolCall(), JoinedText(self._flow.key)))
        if isinstance(given, int):
            self._numbers[given] = at
        call, arguments = self._calls[at]
        call.id, call.name = call.id or told.id, call.name or told.name
        arguments.add(told.arguments)

    @staticmethod
    def _begins(call: ToolCall, told: ToolCall, *, numbered: bool) -> bool:
        return told.id not in ("", call.id) and bool(call.id) if numbered else bool(told.name)

    def _called(self) -> list[ToolCall]:
        return [ToolCall(call.id, call.name, str(arguments)) for call, arguments in self._calls]

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
