"""Where in an object of JSON its question is: under a name in another case, in an inner object, in a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from producer.replay.langfuse_rows import answer_of
from producer.replay.reads import FIELDS, field_named

#: How far into an object is looked.
_DEEPEST = 4
#: Characters of a text that is no sentence.
_SHORT = 12
#: Keys by which messages of people are known: a chat in which nobody is the assistant.
_PEOPLE = (
    ("Slack's", {"user", "ts", "text"}),
    ("Telegram's", {"from_id", "text"}),
    ("Discord's", {"author", "content", "attachments"}),
    ("Teams'", {"messageType", "body", "from"}),
)


def with_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object whose keys are fields in another case (`Question`) with the names of the fields, as in CSV."""
    if value.keys() <= FIELDS:
        return value
    names = {name: field_named(name) for name in value}
    if all(name == field for name, field in names.items()):
        return value
    return {name if field in value else field: value[name] for name, field in names.items()}


def at_path(value: dict[str, Any], path: str) -> dict[str, Any] | None:
    """Return an object with what stands at a path such as `inputs.question` as its question; None: nothing does.

    A key that is written with the points itself goes before. The rest of the key that the path begins with is left out.
    """
    if path in value:
        return {"question" if name == path else name: each for name, each in value.items()}
    for at in (at for at, char in enumerate(path) if char == "."):
        inner = value.get(path[:at])
        if isinstance(inner, dict) and (found := at_path(inner, path[at + 1 :])) is not None:
            return {"question": found["question"], **{name: each for name, each in value.items() if name != path[:at]}}
    return None


def inner_question(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the key of the one inner object that has a question, and that object, with the fields beside it."""
    found = [
        (name, inner) for name, each in value.items() if isinstance(each, dict) and _asks(inner := with_fields(each))
    ]
    if len(found) != 1:
        return None
    name, inner = found[0]
    outer = {field: value[field] for field in FIELDS & value.keys()}
    expected = next((value[key] for key in ("expected_output", "output", "outputs") if value.get(key)), None)
    return name, {"expected": answer_of(expected), **outer, **inner}


def rows_in(value: dict[str, Any], column: str) -> tuple[str, list[Any]] | None:
    """Return the path of the one list of objects in an object, and the list; of several, that with questions."""
    found = list(_lists(value, _DEEPEST))
    asking = [each for each in found if _asks(each[1][0], column)]
    if len(asking) == 1:
        path, rows = asking[0]
        given = {"context": value["context"]} if isinstance(value.get("context"), str) else {}
        return path, [{**given, **row} if isinstance(row, dict) else row for row in rows]
    return found[0] if len(found) == 1 and not FIELDS & value.keys() else None


def people_of(value: dict[str, Any]) -> str:
    """Return whose chat of people an object is, or is a message of; empty where it is none."""
    messages = value.get("messages", value.get("value"))
    first = messages[0] if isinstance(messages, list) and messages and isinstance(messages[0], dict) else value
    return next((whose for whose, keys in _PEOPLE if first.keys() >= keys), "")


def texts_in(value: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the paths of an object's texts of several words, of which one may be the question."""
    for name, each in value.items():
        if isinstance(each, str) and " " in each and len(each) > _SHORT:
            yield before + name
        elif isinstance(each, dict) and before.count(".") < _DEEPEST:
            yield from texts_in(each, f"{before}{name}.")


def _asks(value: Any, column: str = "") -> bool:
    """Whether something is a question: a text, or an object that has one."""
    if isinstance(value, dict) and column:
        return at_path(value, column) is not None
    return isinstance(with_fields(value).get("question") if isinstance(value, dict) else value, str)


def _lists(value: Mapping[str, Any], deep: int, before: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, each in value.items():
        if isinstance(each, list) and each and (isinstance(each[0], dict) or name.lower() == "questions"):
            yield before + name, each
        elif isinstance(each, dict) and deep > 1:
            yield from _lists(each, deep - 1, f"{before}{name}.")
