"""Decode a stream line by line: server-sent events, and lines of JSON. Content types say little of which it is.

Langflow labels lines of JSON as server-sent events, n8n labels them as one JSON document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_flywheel.backends.decoding import parse_json
from agentic_flywheel.backends.frames import FrameCutter
from agentic_flywheel.errors import FlowProtocolError, ServerUnreachable

#: The name of a server-sent event that has none (HTML Living Standard, 9.2.6).
UNNAMED = "message"


class StreamFrame(NamedTuple):
    """One frame: the name of its event, and its JSON; text that is no JSON, such as ``[DONE]``, as it stands."""

    event: str
    document: Any


class LineDecoder:
    """Collects bytes and returns the frames that they complete."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._lines = FrameCutter(flow, b"\n")
        self._event, self._data = UNNAMED, list[bytes]()

    def feed(self, chunk: bytes) -> list[StreamFrame]:
        """Return the frames completed by ``chunk``, in order. Raises FlowProtocolError."""
        return [frame for line in self._lines.feed(chunk) for frame in self._frames_of(line)]

    def close(self) -> list[StreamFrame]:
        """Return the frames that the end of the stream completes. Raises ServerUnreachable where it cut one."""
        try:
            return [*self._frames_of(self._lines.rest), *self._frames_of(b"")]
        except FlowProtocolError:
            raise ServerUnreachable(self._flow, "the stream broke off before the answer was whole") from None

    def _frames_of(self, line: bytes) -> list[StreamFrame]:
        if line.startswith(b"{"):
            return [*self._completed(), StreamFrame(UNNAMED, self._decoded(line))]
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            self._event = line[6:].strip().decode(errors="replace")
        # Other lines are comments, ids, or nothing that this protocol knows: they are passed over.
        return self._completed() if not line else []

    def _completed(self) -> list[StreamFrame]:
        data, event = b"\n".join(self._data), self._event
        self._data, self._event = [], UNNAMED
        return [StreamFrame(event, self._decoded(data))] if data else []

    def _decoded(self, data: bytes) -> Any:
        try:
            return parse_json(data)
        except ValueError:
            if data.startswith(b"{"):
                raise FlowProtocolError(self._flow, "a frame of the stream is not JSON") from None
            return data.decode(errors="replace")
