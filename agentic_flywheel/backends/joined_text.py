"""The text of an answer that comes in pieces."""

from __future__ import annotations

from agentic_flywheel.backends.decoding import whole
from agentic_flywheel.errors import AnswerTooLong

#: Characters of an answer that is streamed.
MAX_TEXT = 8_000_000


class JoinedText:
    """Joins the pieces of a text. JavaScript may cut it within a character."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._pieces: list[str] = []
        self._length = 0
        self._half = ""

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str) -> str:
        """Return what is told of a piece: of a character that was cut, nothing before its second half has come.

        Raises AnswerTooLong.
        """
        if not piece:
            return ""
        text = self._half + piece
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        text = str(whole(text.removesuffix(self._half)))
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise AnswerTooLong(self._flow, f"it is longer than {MAX_TEXT:,} characters")
        if text:
            self._pieces.append(text)
        return text
