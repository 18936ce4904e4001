"""Cut a stream of bytes into events, wherever the network cut it before.

Flowise's frames are ``message:\\ndata:{"event": …, "data": …}\\n\\n``: a bare ``message:`` line, no ``event:`` line, no
space after ``data:``; and ``:heartbeat\\n\\n`` every 30 seconds. The event's name is inside the JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_flywheel.backends.flowise.decoding import parse_json
from agentic_flywheel.errors import AnswerTooLong, FlowProtocolError

#: Bytes of one frame, and of a whole stream with its lines; a server that sends more is cut.
MAX_FRAME = 32 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024
MAX_LINES = 1_000_000

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
        self._rest = bytearray()
        self._searched = self._bytes = self._lines = 0

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Return the events completed by ``chunk``, in order.

        The data of ``agentFlowExecutedData`` stays undecoded bytes of the whole frame. Raises FlowProtocolError.
        """
        self._bytes += len(chunk)
        self._lines += chunk.count(b"\n")
        if self._bytes > MAX_STREAM or self._lines > MAX_LINES:
            more = f"{MAX_STREAM >> 20} MB or {MAX_LINES:,} lines"
            raise AnswerTooLong(self._flow, f"its stream is longer than {more}")
        # A proxy may have turned the line ends; a pair that was cut apart arrives with the next chunk.
        self._rest += chunk.replace(b"\r", b"")
        events: list[StreamEvent] = []
        start = 0
        while (end := self._rest.find(b"\n\n", max(start, self._searched))) >= 0:
            event = self._event(bytes(self._rest[start:end]))
            if event is not None:
                events.append(event)
            start = end + 2
            self._searched = start
        if start:
            del self._rest[:start]
        self._searched = max(len(self._rest) - 1, 0)
        if len(self._rest) > MAX_FRAME:
            raise AnswerTooLong(self._flow, f"a frame of its stream is larger than {MAX_FRAME >> 20} MB")
        return events

    def _event(self, frame: bytes) -> StreamEvent | None:
        data = b"\n".join(line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:"))
        if not data:
            return None
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
