"""Questions from JSON: a value a line, or one document over many lines. Streamed, and no value stops another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, TextIO

from producer.replay.json_values import decoded, parse
from producer.replay.opening import NO_TEXT, UNDECODABLE
from producer.replay.reads import SHOWN, Note, Problem, Questionless, Read
from producer.replay.shapes import Shapes

#: Longest value in characters. A longer one is reported as a faulty line, so that memory stays bounded.
MAX_LINE = 8 * 2**20
#: What decides where a value ends.
_INSIDE = re.compile(r'["{}\[\]]')
_OUTSIDE = re.compile(r'["{}\[\]]|[^\s,"{}\[\]]+')
_IN_TEXT = re.compile(r'["\\\n]')
_BLANK = re.compile(r"[ \t\r\n,\x1e\ufeff]*")
#: So many objects that cannot be asked, for one reason, are a file of another kind; more are not held in memory.
_SEVERAL, _HELD = 4, 1_000
#: Number of characters that are read at once.
_PIECE = 1 << 16


class Value(NamedTuple):
    """One value of a document, as it is written, and the line that it begins in."""

    line: int
    text: str
    #: Its characters, where it is too long to be held.
    length: int = 0

    def fault(self) -> str:
        """Return why its text cannot be read; empty where it can."""
        if self.length:
            return f"it has {self.length} characters, at most {MAX_LINE} are read"
        return NO_TEXT if UNDECODABLE in self.text else ""


def read_json(file: TextIO, *, column: str = "") -> Iterator[Read]:
    """Yield what a file of JSON holds: lines, or a document of one array, or of objects one after another.

    ``column``: the key of the questions, where it is not `question`.
    """
    lines = Lines(file)
    shapes = Shapes(column)
    head = list(islice(lines, 1))
    while head and not head[0].text.strip():
        head = list(islice(lines, 1))
    head += islice(lines, 1)
    if head and _is_document(*(each.text for each in head)):
        file.seek(0)
        yield Note(
            text=f"is read as {'a JSON array' if head[0].text.lstrip()[0] == '[' else 'JSON values over many lines'}"
        )
        values: Iterable[Value | Problem] = _of_document(file)
    else:
        values = chain(head, lines)
    yield from _once(_all(values, shapes))


def _all(values: Iterable[Value | Problem], shapes: Shapes) -> Iterator[Read]:
    for value in values:
        if isinstance(value, Problem):
            yield value
        else:
            yield from _read(value, shapes)
    yield from shapes.end()


def _once(reads: Iterator[Read]) -> Iterator[Read]:
    """Yield what a file holds. Raises ValueError where it has several objects and all are without a question.

    That is another program's file, and one sentence says more of it than one for each of its thousand lines.
    """
    held: list[Problem] = []
    for read in reads:
        if isinstance(read, Note):
            yield read
        elif isinstance(read, Problem) and len(held) < _HELD and _is_alike(read, held):
            held.append(read)
        elif isinstance(read, Problem) and len(held) == _HELD:
            break
        else:
            yield from (*held, read)
            yield from reads
            return
    if len(held) >= _SEVERAL:
        count = f"first {_HELD:,}" if len(held) == _HELD else f"{len(held)}"
        raise ValueError(
            f"none of its {count} entries can be asked; of the first, in line {held[0].number}: {held[0].reason}"
        )
    yield from held


def _is_alike(problem: Problem, held: Sequence[Problem]) -> bool:
    """Whether a fault is that of all before: no question in an object, or the same in words."""
    return isinstance(problem, Questionless) or not held or problem.reason == held[0].reason


def _of_document(file: TextIO) -> Iterator[Value | Problem]:
    splitter = _Splitter()
    while piece := file.readline(_PIECE):
        yield from splitter.feed(piece)
    yield from splitter.end()


def _read(value: Value, shapes: Shapes) -> Iterator[Read]:
    text = value.text
    if fault := value.fault():
        yield Problem(number=value.line, reason=fault, text=text)
        return
    at = _after_blank(text, 0)
    while at < len(text):
        try:
            found, end = decoded(text, at)
        except ValueError as refused:
            yield Problem(number=value.line, reason=f"it is not JSON: {refused}", text=text[at : at + SHOWN])
            return
        yield from shapes.reads_of(value.line, found, text[at : at + SHOWN])
        at = _after_blank(text, end)


def _after_blank(text: str, at: int) -> int:
    """Return where the next value begins, behind commas, byte order marks and the mark of RFC 7464."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


class Lines(Iterator[Value]):
    """The lines of a file; of one that is too long, its beginning and its length."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._line = 0

    def __next__(self) -> Value:
        text = self._file.readline(MAX_LINE + 1)
        if not text:
            raise StopIteration
        self._line += 1
        if len(text) <= MAX_LINE:
            return Value(self._line, text)
        length, rest = len(text), text
        while rest and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(MAX_LINE)
            length += len(rest)
        return Value(self._line, text[:1000], length)


def _is_document(first: str, second: str = "") -> bool:
    """Whether values go over many lines: the first is an array, or an object that goes on where no text is open."""
    begin = first.strip()
    if begin.startswith("["):
        try:
            # Lines may be arrays by mistake: each is then told.
            return not (isinstance(parse(begin), list) and second.lstrip().startswith("["))
        except ValueError:
            return True
    return begin.startswith("{") and begin.endswith(("{", "[", ",", ":")) and not second.startswith("{")


class _Splitter:
    """Takes a document piece by piece and gives its values as they end. It looks at brackets and quotes alone.

    In JSON a text cannot go over a line. So a quote that is missing spoils the value that it stands in, and no other:
    the next begins where a line does as that one did.
    """

    def __init__(self) -> None:
        self._line = 1
        #: Whether a piece begins where a line does.
        self._fresh = True
        self._array = self._in_text = self._escaped = self._broken = False
        self._depth = self._length = self._begin = 0
        self._margin = ""
        self._parts: list[str] = []

    def feed(self, piece: str) -> Iterator[Value]:
        """Yield the values that end in the next piece, which is a line or a part of one."""
        if self._fresh and self._depth and self._broken and piece.startswith(self._margin + "{"):
            yield self._ended("")
        at = start = 0
        while True:
            if self._in_text:
                at = self._through_text(piece, at)
                if self._in_text:
                    break
                if self._depth == 0:
                    yield self._ended(piece[start:at])
                continue
            found = (_INSIDE if self._depth else _OUTSIDE).search(piece, at)
            if found is None:
                break
            mark, at = found[0], found.end()
            if self._depth == 0:
                if mark == ("]" if self._array else "["):
                    self._array = not self._array
                    continue
                start = found.start()
                self._begin, self._margin = self._line, piece[:start] if not piece[:start].strip() else ""
                if mark not in '{["':
                    yield self._ended(mark)
            if mark == '"':
                self._in_text = True
            elif mark in "{[":
                self._depth += 1
            elif mark in "}]" and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    yield self._ended(piece[start:at])
        if self._depth or self._in_text:
            self._add(piece[start:])
        self._fresh = piece.endswith(("\n", "\r"))
        self._line += self._fresh

    def end(self) -> Iterator[Value | Problem]:
        """Yield the value that the document breaks off in, and say that its array does."""
        if self._depth or self._in_text:
            yield self._ended("")
        if self._array:
            yield Problem(number=self._line, reason="the array is not closed: the file is cut off")

    def _through_text(self, piece: str, at: int) -> int:
        """Go to the end of the text that is open, or of the piece. A line's end closes it, wrongly."""
        at += self._escaped
        self._escaped = False
        while found := _IN_TEXT.search(piece, at):
            if found[0] == "\\":
                at = found.end() + 1
                self._escaped = at > len(piece)
                continue
            self._in_text = False
            self._broken = self._broken or found[0] == "\n"
            return found.end()
        return len(piece)

    def _add(self, text: str) -> None:
        self._length += len(text)
        if self._length <= MAX_LINE:
            self._parts.append(text)

    def _ended(self, text: str) -> Value:
        self._add(text)
        value = Value(self._begin, "".join(self._parts), self._length if self._length > MAX_LINE else 0)
        self._parts.clear()
        self._depth = self._length = 0
        self._broken = self._in_text = False
        return value
