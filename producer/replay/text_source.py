"""Questions from a plain text: one a line, or one an item of a list as Markdown and others write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import TextIO

from producer.replay.json_source import Lines, Value
from producer.replay.reads import Note, Problem, Read, item_of
from producer.replay.signs import ASKED, LOOKED_AT, other_text

#: What an item of a list begins with: a bullet, a number or a letter, and in a list of tasks a box. No space follows
#: East Asian marks.
_MARK = re.compile(
    r"(?:[-*+•‣◦–●○■▪►>]|[(\[]?\d{1,6}[.)\]]|\(?[^\W\d_]\)|\d{1,6}-|Q\d{1,6}[.:)])[ \t]+(?:\[[ xX]?\][ \t]+)?"
    r"|(?:[・①-⑳]|[（【]?(?:\d{1,6}|[一二三四五六七八九十]{1,3})[．、）】])\s*"
)
_HEADING = re.compile(r"#{1,6}[ \t]+\S")
#: A row of a table that is drawn with characters; lines that draw tables and rules; where code begins and ends.
_TABLE = re.compile(r"\|.*\|")
_DRAWN = re.compile(r"[-+=_*~|:.#\u2500-\u257f ]{3,}|(?:```|~~~)\w*")


def read_text(file: TextIO, *, markdown: bool) -> Iterator[Read]:
    """Yield the question of each line; empty ones are left out, and the headings of ``markdown``.

    Where the first two lines are items of a list, all have to be. Raises ValueError where lines are no questions: cells
    of a sheet, mail, a chat.
    """
    lines = _Lines(file, markdown=markdown)
    begin = list(islice(lines, LOOKED_AT))
    if lines.asking > 1 and lines.asking > lines.headings / 2:
        raise ValueError("its headings are questions, and what follows them the answers: write the questions alone")
    if other := other_text([each.text for each in begin]):
        raise ValueError(other)
    if begin and "\t" in begin[0].text:
        raise ValueError("its lines have tabs, as cells of a sheet do: write the names of the columns above them")
    listed = bool(begin) and all(_MARK.match(each.text) for each in begin[:2])
    how = "a list of questions: the mark before each is left out" if listed else "a question a line"
    yield Note(text=f"is read as {how}")
    marked = 0
    for value in chain(begin, lines):
        if fault := value.fault() or _fault(value.text, listed=listed):
            yield Problem(number=value.line, reason=fault, text=value.text)
        else:
            if not listed and not marked and _MARK.match(value.text):
                marked = value.line
            question = _MARK.sub("", value.text, count=1) if listed else value.text
            yield item_of(value.line, {"question": question}, text=value.text)
    if marked:
        yield Note(text=f"has marks of a list from line {marked} on, which are asked: a list begins in its first line")
    if lines.headings:
        several = f"{lines.headings} headings, which are no questions"
        yield Note(text=f"has {several if lines.headings > 1 else '1 heading, which is no question'}")


def _fault(text: str, *, listed: bool) -> str:
    if _TABLE.fullmatch(text):
        return "it is a row of a table; give the table in a file of its own"
    if _DRAWN.fullmatch(text):
        return "it is a line without a word, as around tables and code"
    if listed and not _MARK.match(text):
        return "it is no item of the list that the first lines are; write each question in one line"
    return ""


class _Lines(Iterator[Value]):
    """The lines that are not empty, without the space around them; of Markdown, without headings, which are counted."""

    def __init__(self, file: TextIO, *, markdown: bool) -> None:
        self._lines = Lines(file)
        self._markdown = markdown
        #: How many headings there were, and how many of them are questions.
        self.headings = self.asking = 0

    def __next__(self) -> Value:
        for value in self._lines:
            text = value.text.strip("\ufeff \t\r\n")
            if self._markdown and _HEADING.match(text):
                self.headings += 1
                self.asking += text.endswith(ASKED)
            elif text:
                return value._replace(text=text)
        raise StopIteration
