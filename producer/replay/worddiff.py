"""The word-by-word difference of two texts, in a form that a person can read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal, NamedTuple

Kind = Literal["=", "-", "+"]

#: Words compared of each text; what follows is shown as one change.
_MOST_WORDS = 4_000
#: Words no longer than this, alone between larger changes, say nothing there: "the", "of a", a comma.
_SHORT = 3

#: A word, one character of a script that puts no spaces between words, or one mark; and the space after it.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]\s*|[^\W぀-ヿ㐀-鿿豈-﫿]+\s*|[^\w\s]\s*|\s+")


class Segment(NamedTuple):
    """A stretch of text: in both (``=``), only before (``-``), or only after (``+``)."""

    kind: Kind
    text: str


def word_diff(before: str, after: str) -> list[Segment]:
    """Return the segments that lead from ``before`` to ``after``.

    Joined without the ``+`` they are exactly ``before``, without the ``-`` exactly ``after``.
    """
    old, new = _WORD.findall(before), _WORD.findall(after)
    start = _shared_start(old, new)
    end = _shared_start(old[start:][::-1], new[start:][::-1])
    old_middle, new_middle = old[start : len(old) - end], new[start : len(new) - end]
    segments = [Segment("=", "".join(new[:start]))]
    segments += _without_strays(list(_changes(old_middle, new_middle)))
    segments.append(Segment("=", "".join(new[len(new) - end :])))
    return list(_joined(segments))


def _shared_start(old: list[str], new: list[str]) -> int:
    shared = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        shared += 1
    return shared


def _changes(old: list[str], new: list[str]) -> Iterator[Segment]:
    """Yield the segments of what differs. Words are compared without the space after them."""
    compared_old, compared_new = old[:_MOST_WORDS], new[:_MOST_WORDS]
    matcher = SequenceMatcher(
        None, [word.rstrip() for word in compared_old], [word.rstrip() for word in compared_new], autojunk=True
    )
    for tag, from_old, to_old, from_new, to_new in matcher.get_opcodes():
        if tag == "equal":
            for one, other in zip(old[from_old:to_old], new[from_new:to_new], strict=True):
                word = one.rstrip()
                yield Segment("=", word)
                yield from _spaces(one[len(word) :], other[len(word) :])
        else:
            yield Segment("-", "".join(old[from_old:to_old]))
            yield Segment("+", "".join(new[from_new:to_new]))
    yield Segment("-", "".join(old[_MOST_WORDS:]))
    yield Segment("+", "".join(new[_MOST_WORDS:]))


def _spaces(before: str, after: str) -> Iterator[Segment]:
    if before == after:
        yield Segment("=", before)
    else:
        yield Segment("-", before)
        yield Segment("+", after)


def _without_strays(segments: list[Segment]) -> list[Segment]:
    """Join short equal words between two larger changes with these, so that the result is two readable stretches."""
    runs = list(_joined(segments))
    kept: list[Segment] = []
    for place, run in enumerate(runs):
        around = [*runs[max(0, place - 2) : place], *runs[place + 1 : place + 3]]
        changed = sum(len(each.text.split()) for each in around if each.kind != "=")
        inside = 0 < place < len(runs) - 1
        words = run.text.split()
        stray = len(words) <= 2 and all(len(word) <= _SHORT for word in words)
        if run.kind == "=" and inside and stray and changed > 2 * len(words) + 1:
            kept += [Segment("-", run.text), Segment("+", run.text)]
        else:
            kept.append(run)
    return kept


def _joined(segments: list[Segment]) -> Iterator[Segment]:
    """Join neighbours: between two equal stretches everything removed comes first, then everything added."""
    filled = [segment for segment in segments if segment.text]
    for same, run in groupby(filled, lambda segment: segment.kind == "="):
        if same:
            yield Segment("=", "".join(segment.text for segment in run))
            continue
        changes = list(run)
        for kind in ("-", "+"):
            if text := "".join(segment.text for segment in changes if segment.kind == kind):
                yield Segment(kind, text)
