"""The keyword arguments of a submission are the fields of a query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from pydantic import ValidationError

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import FormScalar, fault_of
from agentic_flywheel.models import Priority, Query
from agentic_flywheel.uploads import Upload
from producer import AsyncProducer, Producer, QueryFields

#: What a caller may write more loosely than a query keeps it.
LOOSER = {
    "priority": Priority | Literal["high", "normal", "low"],
    "form": dict[str, FormScalar],
    "uploads": Sequence[Upload | Path | str],
}


def test_the_fields_of_a_submission_are_those_of_a_query() -> None:
    of_query = get_type_hints(Query)
    # Whose it is, the producer knows: no caller says so.
    fields = {name: of_query[name] for name in Query.model_fields if name not in ("question", "owner")}
    given = get_type_hints(QueryFields)

    assert given.pop("timeout") is not None
    assert given == {**fields, **LOOSER}


@pytest.mark.parametrize("name", sorted(name for name in vars(AsyncProducer) if not name.startswith("_")))
def test_every_public_method_is_explained(name: str) -> None:
    assert (getattr(AsyncProducer, name).__doc__ or "").strip(), name


def test_both_producers_have_the_same_methods_with_the_same_arguments() -> None:
    # A thread that shares the connections of another has no use for a second producer; the connection and the profiles
    # are used on the loop.
    only_async = {"acting_for", "batch", "profiles"}
    names = {name for name in vars(AsyncProducer) if not name.startswith("_")} - only_async
    mine = {name for name in vars(Producer) if not name.startswith("_")}

    assert mine == names
    for name in sorted(names - {"catalog"}):
        async_arguments = signature(getattr(AsyncProducer, name)).parameters
        assert signature(getattr(Producer, name)).parameters == async_arguments, name
        assert (getattr(Producer, name).__doc__ or "").strip(), name


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("domain", "-x", "begin with a letter or digit"),
        ("profile", "a/b", "at most 128 letters, digits"),
        ("session_id", "a b", "no white space"),
    ],
)
def test_a_refused_name_is_told_in_words_and_not_by_a_pattern(field: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Query.model_validate({"question": "q", field: value})

    name, why = fault_of(refused.value)
    assert name == field
    assert said in why
    assert "pattern" not in why


WRONG: tuple[Any, ...] = (
    "",
    5,
    -1,
    1.5,
    True,
    "\x00",
    "x y",
    "q" * 40_000,
    [],
    [5],
    {},
    {"a": set},
    {"": 1},
    "2026",
    object(),
)


@pytest.mark.parametrize("field", sorted(Query.model_fields))
def test_no_refusal_speaks_of_python(field: str) -> None:
    for value in WRONG:
        try:
            Query.model_validate({"question": "q", field: value})
        except (ValidationError, InvalidQuery) as refused:
            why = refused.reason if isinstance(refused, InvalidQuery) else fault_of(refused)[1]
            assert not re.search(r"\b(?:Input|String|Field|dictionary|tuple|boolean|integer|instance)\b", why), why
