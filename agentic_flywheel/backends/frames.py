"""Cut a stream of bytes into lines and frames, wherever the network cut it before: one reader for all backends.

Server-sent events as the HTML Living Standard has them (9.2.6), and lines of JSON, which some servers mix with them.
"""

from __future__ import annotations

from typing import NamedTuple

from agentic_flywheel.backends.decoding import parse_json
from agentic_flywheel.errors import AnswerTooLong

#: Bytes of one line, and of a whole stream with its lines; a server that sends more is cut.
MAX_FRAME = 32 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024
MAX_LINES = 1_000_000
#: The name of a server-sent event that has none.
UNNAMED = "message"
#: May stand before all that a stream holds.
BOM = b"\xef\xbb\xbf"


class LineCutter:
    """Collects bytes and returns the lines that they complete. A line feed, a carriage return or both end one."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        #: Of a line that has not ended yet.
        self._pieces: list[bytes] = []
        self._held = self._bytes = self._lines = 0
        self._begun = self._returned = False

    @property
    def rest(self) -> bytes:
        """What has come since the last end."""
        rest = b"".join(self._pieces)
        return rest if self._begun else rest.removeprefix(BOM)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines completed by ``chunk``, in order. Raises AnswerTooLong."""
        self._bytes += len(chunk)
        if self._bytes > MAX_STREAM:
            raise self._too_long
        if self._returned and chunk:
            # The pair that ends a line was cut apart: its line has been returned.
            chunk, self._returned = chunk.removeprefix(b"\n"), False
        if b"\n" in chunk or b"\r" in chunk:
            return self._completed(chunk)
        if chunk:
            self._hold(chunk)
        return []

    def _completed(self, chunk: bytes) -> list[bytes]:
        # Of bytes, only these three are ends of lines.
        lines = b"".join((*self._pieces, chunk)).splitlines()
        self._pieces, self._held, self._returned = [], 0, chunk.endswith(b"\r")
        if not chunk.endswith((b"\n", b"\r")):
            self._hold(lines.pop())
        self._lines += len(lines)
        if self._lines > MAX_LINES:
            raise self._too_long
        if not self._begun:
            lines[0], self._begun = lines[0].removeprefix(BOM), True
        return lines

    def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > MAX_FRAME:
            raise AnswerTooLong(self._flow, f"a frame of its stream is larger than {MAX_FRAME >> 20} MB")

    @property
    def _too_long(self) -> AnswerTooLong:
        return AnswerTooLong(self._flow, f"its stream is longer than {MAX_STREAM >> 20} MB or {MAX_LINES:,} lines")


class StreamFrame(NamedTuple):
    """One frame of a stream: the name of its event, and its data as it came; a line of JSON has no name."""

    event: str
    data: bytes


class FrameReader:
    """Collects bytes and returns the frames that they complete. Comments and what has no data are none."""

    def __init__(self, flow: str) -> None:
        self._lines = LineCutter(flow)
        self._event, self._data = UNNAMED, list[bytes]()

    def feed(self, chunk: bytes) -> list[StreamFrame]:
        """Return the frames completed by ``chunk``, in order. Raises AnswerTooLong."""
        found: list[StreamFrame] = []
        for line in self._lines.feed(chunk):
            self._take(line, found)
        return found

    def close(self) -> list[StreamFrame]:
        """Return the frame that the end of the stream completes, if any: many servers end without an empty line."""
        found: list[StreamFrame] = []
        self._take(self._lines.rest, found)
        self._complete(found)
        return found

    def _take(self, line: bytes, found: list[StreamFrame]) -> None:
        if not line:
            self._complete(found)
        elif line.startswith(b"{"):
            self._complete(found)
            found.append(StreamFrame(UNNAMED, line))
        else:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._add(value.removeprefix(b" "), found)
            elif name == b"event":
                self._event = value.strip().decode(errors="replace")
            # Other lines are comments, ids, or nothing that these protocols know: they are passed over.

    def _add(self, value: bytes, found: list[StreamFrame]) -> None:
        # Some servers leave the empty lines out. Two objects are never one value, so the first one is a frame.
        if len(self._data) == 1 and value.startswith((b"{", b"[DONE]")) and _is_object(self._data[0]):
            self._complete(found)
        self._data.append(value)

    def _complete(self, found: list[StreamFrame]) -> None:
        if data := b"\n".join(self._data):
            found.append(StreamFrame(self._event, data))
        self._event, self._data = UNNAMED, []


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(parse_json(data), dict)
    except ValueError:
        return False
