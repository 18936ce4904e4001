"""Decode a stream frame by frame: server-sent events with their names, lines of JSON. Content types tell little of it.

Langflow labels lines of JSON as server-sent events, n8n labels them as one JSON document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_flywheel.backends.decoding import parse_json
from agentic_flywheel.backends.frames import FrameReader, StreamFrame
from agentic_flywheel.errors import FlowProtocolError, ServerUnreachable


class DecodedFrame(NamedTuple):
    """One frame: the name of its event, and its JSON; text that is no JSON, such as ``[DONE]``, as it stands."""

    event: str
    document: Any


class FrameDecoder:
    """Collects bytes and returns the frames that they complete."""

    def __init__(self, flow: str) -> None:
        self._flow, self._frames = flow, FrameReader(flow)

    def feed(self, chunk: bytes) -> list[DecodedFrame]:
        """Return the frames completed by ``chunk``, in order. Raises FlowProtocolError."""
        return [self._decoded(frame) for frame in self._frames.feed(chunk)]

    def close(self) -> list[DecodedFrame]:
        """Return the frames that the end of the stream completes. Raises ServerUnreachable where it cut one."""
        try:
            return [self._decoded(frame) for frame in self._frames.close()]
        except FlowProtocolError:
            raise ServerUnreachable(self._flow, "the stream broke off before the answer was whole") from None

    def _decoded(self, frame: StreamFrame) -> DecodedFrame:
        try:
            return DecodedFrame(frame.event, parse_json(frame.data))
        except ValueError:
            if frame.data.startswith(b"{"):
                raise FlowProtocolError(self._flow, "a frame of the stream is not JSON") from None
            return DecodedFrame(frame.event, frame.data.decode(errors="replace"))
