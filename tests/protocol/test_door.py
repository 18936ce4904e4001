"""What a query may hold: one rule for every field, decided without a broker."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agentic_flywheel.errors import InvalidQuery, rebuild
from agentic_flywheel.given import MAX_QUERY_BYTES, deadline_after
from agentic_flywheel.models import Query, read_query
from agentic_flywheel.texts import MAX_DEPTH

NOT_SHOWABLE = [
    *map(chr, range(9)),
    "\x0b",
    "\x0c",
    *map(chr, range(14, 32)),
    "\x7f",
    "\x80",
    "\x9b",
    "\ud800",
    "\udfff",
]
HARMLESS = [
    "a\tb\nc\r\nd",
    "👩‍👩‍👧 🏳️‍🌈",
    "می‌خواهم",  # ZWNJ
    "\u200fשלום\u200e, עולם",
    "مرحبا\u061c",
    "\u2067مرحبا\u2069 call \u202a+1 555\u202c \u202d123\u202c",
    "क्षि ไทย 日本語 ＡＢＣ",
    "e\u0301",
    "a\ufeffb\u00adc\u2028d",
    "\uffff\U0010ffff",
]


def refused(**fields: Any) -> InvalidQuery:
    with pytest.raises(InvalidQuery) as caught:
        read_query({"question": "Why?", **fields})
    return caught.value


@pytest.mark.parametrize("character", NOT_SHOWABLE, ids=lambda each: f"U+{ord(each):04X}")
def test_no_field_of_a_query_takes_a_character_that_cannot_be_stored_or_shown(character: str) -> None:
    text = f"ab{character}c"
    shapes = (text, {text: 1}, {"key": text}, {"key": [{"deep": text}]}, [{"role": "userMessage", "content": text}])

    for name in Query.model_fields:
        for value in shapes:
            error = refused(**{name: value})
            assert error.field_name.split(".")[0] == name
            assert character not in str(error)
            str(error).encode()


@pytest.mark.parametrize(
    ("fields", "name", "where"),
    [
        (
            {"question": "ab\x00c"},
            "question",
            "U+0000 (control character) at position 3 can be neither stored nor shown",
        ),
        ({"question": "\ud800"}, "question", "U+D800 (half of a surrogate pair) at position 1"),
        ({"context": "a\x1b[31m"}, "context", "U+001B (control character) at position 2"),
        ({"session_id": "a\u202eb"}, "session_id", "U+202E (right-to-left override) at position 2 cannot be seen"),
        ({"user": "a\u200bb"}, "user", "U+200B (zero width space) at position 2 cannot be seen"),
        ({"metadata": {"a": [1, {"b": "\x07"}]}}, "metadata", "`a.1.b`: U+0007 (control character) at position 1"),
        ({"metadata": {"a": {"b\x07": 1}}}, "metadata", "`a`: U+0007 (control character) at position 2"),
        ({"history": [{"role": "userMessage", "content": "a\x00"}]}, "history.0.content", "U+0000"),
    ],
)
def test_a_refusal_names_the_field_and_the_position(fields: dict[str, Any], name: str, where: str) -> None:
    error = refused(**fields)

    assert error.field_name == name
    assert where in error.reason
    assert rebuild(error.describe()).args == error.args


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_in_any_script_stays_as_it_was_typed(text: str) -> None:
    query = read_query(
        {
            "question": text,
            "context": text,
            "metadata": {text: text},
            "config": {"vars": {text: [text]}},
            "history": [{"role": "apiMessage", "content": text}],
        }
    )

    assert (query.question, query.context) == (text, text)
    assert Query.model_validate_json(query.written()) == query


@pytest.mark.parametrize("name", ["诗人", "نام‌ه", "Zoë", "ऋषि", "👩‍👩‍👧", "ＡＢ"])
def test_a_session_and_a_user_have_names_in_any_script(name: str) -> None:
    query = read_query({"question": "Why?", "session_id": name, "user": name})

    assert (query.session_id, query.user) == (name, name)


def test_a_byte_order_mark_before_a_question_is_no_part_of_it() -> None:
    assert read_query({"question": "\ufeffWhy?"}).question == "Why?"


@pytest.mark.parametrize(
    "blank",
    [
        " ",
        "\n\t",
        "\ufeff",
        "\u200f\u200d",
        "\u3000\u2029",
        "\u2066 \u2069",
        "\u3164",
        "\uffa0\u115f",
        "\u2800",
        "\ufe0f\u034f",
    ],
)
def test_a_question_of_nothing_that_can_be_seen_is_refused(blank: str) -> None:
    error = refused(question=blank)

    assert (error.field_name, error.reason) == ("question", "it holds nothing but white space")


@pytest.mark.parametrize("field", ["config", "metadata"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "`x`: should be a finite number"),
        (-math.inf, "`x`: should be a finite number"),
        (10**400, "`x`: is too large a number"),
        ([[math.inf]], "`x.0.0`: should be a finite number"),
    ],
)
def test_a_number_that_json_does_not_have_is_refused(field: str, value: Any, reason: str) -> None:
    error = refused(**{field: {"x": value}})

    assert (error.field_name, error.reason) == (field, reason)


@pytest.mark.parametrize("field", ["config", "metadata"])
def test_objects_within_objects_are_accepted_up_to_a_depth(field: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = "x"
        for _ in range(levels - 1):
            value = [value]
        return {"x": value}

    read_query({"question": "Why?", field: nested(MAX_DEPTH)})

    for levels in (MAX_DEPTH + 1, 100_000):
        error = refused(**{field: nested(levels)})
        assert (error.field_name, error.reason) == (field, f"is nested more than {MAX_DEPTH} levels deep")


@pytest.mark.parametrize(
    "given",
    [
        {"metadata": {"x": "y" * MAX_QUERY_BYTES}},
        {"config": {"x": "é" * (MAX_QUERY_BYTES // 2)}},
        {"history": [{"role": "userMessage", "content": "z" * 1000}] * 300},
    ],
)
def test_a_query_is_bounded_as_a_whole(given: dict[str, Any]) -> None:
    error = refused(**given)

    assert error.field_name == "query"
    assert "at most 262,144 are accepted" in error.reason


def test_the_largest_question_and_context_are_within_the_bound() -> None:
    query = read_query({"question": "\U0001f600" * 32_000, "context": "\U0001f600" * 8_000, "metadata": {"a": 1}})

    assert len(query.written().encode()) < MAX_QUERY_BYTES


def test_who_makes_a_query_of_a_class_is_told_the_same() -> None:
    with pytest.raises(ValidationError, match="at position 1"):
        Query(question="\x00")


@pytest.mark.parametrize("timeout", [math.inf, -math.inf, math.nan, 1e300, 4e9, "soon", timedelta.max])
def test_a_time_out_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(InvalidQuery) as caught:
        deadline_after(timeout)

    assert caught.value.field_name == "timeout"
