"""Collect a stream into one FlowAnswer by the registry's rule, and tell its tokens meanwhile. Decides only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_flywheel.backends.decoded_frames import DecodedFrame
from agentic_flywheel.backends.decoding import whole
from agentic_flywheel.backends.http.answer import answer_of
from agentic_flywheel.backends.http.pointers import NOTHING, Nothing, at, is_meant
from agentic_flywheel.backends.joined_text import JoinedText
from agentic_flywheel.backends.models import FlowAnswer, FlowNews
from agentic_flywheel.backends.statuses import reason_from
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError, ServerUnreachable
from agentic_flywheel.http_flows import AnswerPlace, StreamRule
from agentic_flywheel.models import EventKind


class CollectedStream:
    """Collects a stream's frames until the answer is whole. ``add`` returns what is to be told of one."""

    def __init__(self, flow: Flow, place: AnswerPlace, rule: StreamRule) -> None:
        self._flow, self._place, self._rule = flow.key, place, rule
        self._text = JoinedText(flow.key)
        self._whole: Any | Nothing = NOTHING
        self._ended = self._heard = False
        #: Whether any frame was one that the rule means.
        self.begun = False
        #: Why the flow failed, where it did.
        self.failure: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more can come that matters."""
        return self._ended or self.failure is not None or (self._rule.end is None and self._whole is not NOTHING)

    def add(self, frame: DecodedFrame) -> Sequence[FlowNews]:
        """Take one frame and return the news in it. Raises FlowProtocolError."""
        event, document = frame
        rule, self._heard = self._rule, True
        kinds = (rule.error, rule.whole, rule.instead, rule.token, rule.end)
        self.begun = self.begun or any(is_meant(kind, event, document) for kind in kinds)
        if rule.error is not None and is_meant(rule.error, event, document):
            self.failure = reason_from(whole(at(document, rule.error.at))) or "no reason given"
            return []
        if rule.whole is not None and is_meant(rule.whole, event, document):
            self._whole = whole(at(document, rule.whole.at))
        if rule.instead is not None and is_meant(rule.instead, event, document):
            self._text = JoinedText(self._flow)
            self._text.add(_text(at(document, rule.instead.at)))
        told = ""
        if rule.token is not None and is_meant(rule.token, event, document):
            told = self._text.add(_text(at(document, rule.token.at)))
        self._ended = self._ended or is_meant(rule.end, event, document)
        return [FlowNews(EventKind.TOKEN, {"text": told})] if told else []

    def answer(self) -> FlowAnswer:
        """Return the whole answer.

        Raises ServerUnreachable where the stream broke off, FlowProtocolError where it was none.
        """
        if not self.settled:
            if not self._heard:
                raise FlowProtocolError(self._flow, "it is no stream of server-sent events or lines of JSON")
            raise ServerUnreachable(self._flow, "the stream broke off before the answer was whole")
        document = None if self._whole is NOTHING else self._whole
        return answer_of(self._flow, self._place, document, told=str(self._text) if self._rule.token else None)


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""
