"""What is odd about questions that are asked all the same: it is said once for each kind, with the first lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from producer.replay.reads import NAMED, Note, lines_told

_WORD = re.compile(r"[^\W\d_]")
_ENTITY = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#x[0-9a-fA-F]{2,6});|</(?:p|div|span|b|i|a|em|strong|li)>|<br ?/?>"
)
#: Letters as mail (=C3=A4), addresses (%C3%A4) and programs (\\u00e4) write them.
_ESCAPED = re.compile(r"(?:[=%][C-F][0-9A-F][=%][89AB][0-9A-F])|\\u[0-9a-fA-F]{4}")
#: How a letter of UTF-8 looks where it was read as windows-1252.
_MISREAD = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]")


def _is_misread(text: str) -> bool:
    if text.isascii() or not _MISREAD.search(text):
        return False
    try:
        text.encode("windows-1252").decode()
    except UnicodeError:
        return False
    return True


#: How databases and programs write a value that is not there, in fewer characters than so many.
_SHORT = 12
_NOTHING = re.compile(r"\(?(null|nil|none|nan|n/a|na|undefined|#null!|<null>|missing)\)?", re.IGNORECASE)
#: A letter beyond ASCII in UTF-7.
_SEVEN = re.compile(r"\+[A-Za-z0-9+/]{2,}-")


def _is_seven(text: str) -> bool:
    if "+" not in text or not (text.isascii() and _SEVEN.search(text)):
        return False
    try:
        return any(map(str.isalpha, set(text.encode().decode("utf-7")) - set(text)))
    except UnicodeError:
        return False


_KINDS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("without a word", lambda text: not _WORD.search(text)),
    ("that may stand for nothing, as NULL does", lambda text: len(text) < _SHORT and _NOTHING.fullmatch(text)),
    ("that may be UTF-7 (`--encoding utf-7` reads it)", _is_seven),
    ("with U+FFFD, where characters were lost before", lambda text: "\ufffd" in text),
    ("that may be UTF-8 which was read as windows-1252 before", _is_misread),
    ("with characters written as in HTML, such as &amp;", _ENTITY.search),
    ("with letters written as in mail, addresses or programs, such as =C3=A4", _ESCAPED.search),
)


class Doubts:
    """Looks at the questions of one file."""

    def __init__(self) -> None:
        self._found: dict[str, list[int]] = {}
        self._counts: dict[str, int] = {}

    def look(self, number: int, question: str) -> None:
        """Look at one question."""
        for kind, holds in _KINDS:
            if holds(question):
                self._counts[kind] = self._counts.get(kind, 0) + 1
                named = self._found.setdefault(kind, [])
                if len(named) < NAMED:
                    named.append(number)

    def notes(self) -> Iterator[Note]:
        """Yield what was found, a note for each kind."""
        for kind, numbers in self._found.items():
            count = self._counts[kind]
            several = "s" if count > 1 else ""
            told = lines_told(numbers, count)
            yield Note(text=f"has {count} question{several} {kind} ({told}); asked as written")
