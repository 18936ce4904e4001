"""Read the events of Flowise's streams.

Flowise's frames are ``message:\\ndata:{"event": …, "data": …}\\n\\n``: a bare ``message:`` line, no ``event:`` line, no
space after ``data:``; and ``:heartbeat\\n\\n`` every 30 seconds. The event's name is inside the JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_flywheel.backends.decoding import parse_json
from agentic_flywheel.backends.frames import FrameReader
from agentic_flywheel.errors import FlowProtocolError

EXECUTED = "agentFlowExecutedData"
# Cumulative and large: every one repeats all before it, so only the last is worth decoding.
_EXECUTED_PREFIX = b'{"event":"agentFlowExecutedData"'


class StreamEvent(NamedTuple):
    """One event of a stream."""

    name: str
    data: Any


class FrameParser:
    """Collects bytes and returns the events that they complete. Heartbeats are no events."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._frames = FrameReader(flow)

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Return the events completed by ``chunk``, in order.

        The data of ``agentFlowExecutedData`` stays undecoded bytes of the whole frame. Raises FlowProtocolError.
        """
        return [self._event(frame.data) for frame in self._frames.feed(chunk)]

    def _event(self, data: bytes) -> StreamEvent:
        if data.startswith(_EXECUTED_PREFIX):
            return StreamEvent(name=EXECUTED, data=data)
        try:
            decoded = parse_json(data)
        except ValueError:
            raise FlowProtocolError(self._flow, "a frame of the stream is not JSON") from None
        if not isinstance(decoded, dict) or not isinstance(decoded.get("event"), str):
            raise FlowProtocolError(self._flow, "a frame of the stream has no event")
        if decoded["event"] == EXECUTED:
            return StreamEvent(name=EXECUTED, data=data)
        return StreamEvent(name=decoded["event"], data=decoded.get("data"))
