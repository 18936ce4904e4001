"""Cut a stream of bytes into frames, wherever the network cut it before."""

from __future__ import annotations

from agentic_flywheel.errors import AnswerTooLong

#: Bytes of one frame, and of a whole stream with its lines; a server that sends more is cut.
MAX_FRAME = 32 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024
MAX_LINES = 1_000_000


class FrameCutter:
    """Collects bytes and returns the frames that they complete: what stands between two ``ends``."""

    def __init__(self, flow: str, ends: bytes) -> None:
        self._flow, self._ends = flow, ends
        self._rest = bytearray()
        self._searched = self._bytes = self._lines = 0

    @property
    def rest(self) -> bytes:
        """What has come since the last end."""
        return bytes(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the frames completed by ``chunk``, in order. Raises AnswerTooLong."""
        self._bytes += len(chunk)
        self._lines += chunk.count(b"\n")
        if self._bytes > MAX_STREAM or self._lines > MAX_LINES:
            more = f"{MAX_STREAM >> 20} MB or {MAX_LINES:,} lines"
            raise AnswerTooLong(self._flow, f"its stream is longer than {more}")
        # A proxy may have turned the line ends; a pair that was cut apart arrives with the next chunk.
        self._rest += chunk.replace(b"\r", b"")
        frames: list[bytes] = []
        start = 0
        while (end := self._rest.find(self._ends, max(start, self._searched))) >= 0:
            frames.append(bytes(self._rest[start:end]))
            start = end + len(self._ends)
            self._searched = start
        if start:
            del self._rest[:start]
        self._searched = max(len(self._rest) - len(self._ends) + 1, 0)
        if len(self._rest) > MAX_FRAME:
            raise AnswerTooLong(self._flow, f"a frame of its stream is larger than {MAX_FRAME >> 20} MB")
        return frames
