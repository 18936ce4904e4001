"""The values that reading a source yields: items, lines that cannot be asked, notes on assumptions."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ValidationError

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import fault_of
from agentic_flywheel.models import Model
from agentic_flywheel.written import as_text
from producer.replay.items import ReplayItem
from producer.replay.recorded import Recorded
from producer.replay.said import history_of

#: Characters that are shown of a line that cannot be asked.
SHOWN = 160
#: Fields whose values are JSON.
NESTED = frozenset({"metadata", "config", "form", "history", "uploads"})
#: Fields that a line may give. `answer` is the text of before.
FIELDS = frozenset(ReplayItem.model_fields) - {"number", "baseline", "moved_from"} | {"answer"}
#: What to do where no column or key is named `question`.
NAMELESS = "name the one that holds the questions: `--column NAME`"
#: Of these an empty text says something: a question that is none, an answer without a word.
_SAYING = frozenset({"question", "answer", "expected"})
#: Of these a number is taken as the text that it was written as.
_TEXTS = FIELDS - NESTED - {"question", "context"}
#: Characters of a name that may be a field's.
_LONGEST_NAME = 64
#: Marks that nobody sees; they come with texts that were copied from a page.
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def field_named(name: str) -> str:
    """Return the name of a column or key; one of a field's in whatever case it is written."""
    if name in FIELDS or len(name) > _LONGEST_NAME:
        return name.strip()
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", name)).strip()
    return plain.lower() if plain.lower() in FIELDS else name.strip()


def _start_of(text: str) -> str:
    """Return how a line begins, fit to be written to a file."""
    return text[:SHOWN].rstrip().encode(errors="replace").decode()


class Problem(Model):
    """A line that cannot be asked."""

    number: int
    reason: str
    #: The beginning of the line, so that a person finds it.
    text: Annotated[str, BeforeValidator(_start_of)] = ""


class Questionless(Problem):
    """An object in which nothing is known to be a question."""


class Note(Model):
    """An assumption about a source, such as its encoding."""

    text: str


#: Lines that a note names.
NAMED = 3


def lines_told(first: Sequence[int], count: int) -> str:
    """Return ``lines 3, 5, 9, …`` for the first ones of so many lines."""
    more = ", …" if count > NAMED else ""
    return f"line{'s' if count > 1 else ''} {', '.join(map(str, first[:NAMED]))}{more}"


Read = ReplayItem | Problem | Note


class Hints(NamedTuple):
    """What a person says of a file because it does not say it itself."""

    #: Encoding of its text.
    encoding: str = ""
    #: Its column or key of the questions, where that is not named `question`.
    column: str = ""


NO_HINTS = Hints()


class Places:
    """Gives each item a number of its own: its line, or the next free number where a line holds several."""

    def __init__(self) -> None:
        self._last = 0

    def take(self, line: int) -> int:
        self._last = max(line, self._last + 1)
        return self._last


def item_of(number: int, fields: dict[str, Any], *, line: int = 0, text: str = "") -> ReplayItem | Problem:
    """Return the item that named values describe. ``line``: where it is not the number.

    None counts as not given; so does an empty text where it says nothing, as an empty cell.
    """
    given = {name: value for name, value in fields.items() if value is not None and (value != "" or name in _SAYING)}
    line = line or number
    unknown = sorted(given.keys() - FIELDS)
    if unknown:
        reason = f"there is no field {unknown[0]!r}; what is your own belongs under metadata"
        return Problem(number=line, reason=reason, text=text)
    for name in _TEXTS & given.keys():
        given[name] = _as_text(given[name])
    if "history" in given:
        given["history"] = history_of(given["history"])
    answer = given.pop("answer", None)
    try:
        baseline = None if answer is None else Recorded(text=answer)
        return ReplayItem.model_validate({"id": str(number), **given, "number": number, "baseline": baseline})
    except ValidationError as refused:
        return Problem(number=line, reason=": ".join(fault_of(refused)), text=text)
    except InvalidQuery as refused:
        return Problem(number=line, reason=f"{refused.field_name}: {refused.reason}", text=text)


def _as_text(value: Any) -> Any:
    text = as_text(value)
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
