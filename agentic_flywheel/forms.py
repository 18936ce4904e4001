"""Forms with which flows begin: is a query's one that its flow can be started with? Flowise itself checks nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import assert_never

from agentic_flywheel.catalog import Flow, FormField
from agentic_flywheel.cutting import on_one_line
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import FormScalar, text_of_form, text_of_value
from agentic_flywheel.models import Query

#: Fields, or options of one, that are named for a person, and characters of each.
_MOST_SHOWN, _LONGEST_SHOWN = 50, 200
_TRUTHS = {"true": True, "false": False}


class UnfitForm(ValueError):
    """A form is not one that the flow begins with. Its text says why, for a person."""


def fitted_query(query: Query, flow: Flow) -> Query:
    """Return a query as its flow takes it: its form checked against the registry's. Raises InvalidQuery.

    Where the registry does not say which form a flow begins with, the worker checks it against the server.
    """
    if not flow.form:
        return query
    try:
        form = fitted(query.form, flow.form)
    except UnfitForm as unfit:
        raise InvalidQuery("form", f"{unfit} (flow {flow.key})") from None
    return query.model_copy(update={"form": form, "question": text_of_form(form)})


def fitted(form: Mapping[str, FormScalar], fields: Iterable[FormField]) -> dict[str, FormScalar]:
    """Return a form as these fields take it; a number or truth may be written as a text. Raises UnfitForm."""
    known = {field.name: field for field in fields}
    if not form:
        raise UnfitForm(f"the flow begins with a form, so it takes no question alone: give {described(known.values())}")
    for name in form:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean '{_shown(near[0])}'?" if near else f"it has {described(known.values())}"
            raise UnfitForm(f"the form has no field '{_shown(name)}'; {meant}")
    missing = [field for field in known.values() if field.required and form.get(field.name) in (None, "")]
    if missing:
        raise UnfitForm(f"what it needs is missing: {described(missing)}")
    # In the order of the fields: a form that is filled in the other way round is the same one.
    return {name: _value(field, form[name]) for name, field in known.items() if name in form}


def described(fields: Iterable[FormField]) -> str:
    """Return what may be filled in, for a person: `name` (string), `size` (small, large), `note` (string, optional)."""
    return _listed(
        f"`{_shown(field.name)}` ({_listed(map(_shown, field.options)) or field.type}"
        f"{'' if field.required else ', optional'})"
        for field in fields
    )


def _listed(each: Iterable[str]) -> str:
    """Return the first of the texts; others have as many options as there are towns."""
    found = list(each)
    more = len(found) - _MOST_SHOWN
    return ", ".join(found[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shown(name: str) -> str:
    text = on_one_line(name[: 2 * _LONGEST_SHOWN])
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _value(field: FormField, value: FormScalar) -> FormScalar:
    """Return a value as its field takes it. Raises UnfitForm."""
    match field.type:
        case "string":
            return text_of_value(value)
        case "options":
            text = text_of_value(value)
            if field.options and text not in field.options:
                raise UnfitForm(f"`{_shown(field.name)}` should be one of {_listed(map(_shown, field.options))}")
            return text
        case "number":
            number = _number(value)
            if number is None:
                raise UnfitForm(f"`{_shown(field.name)}` should be a number")
            return number
        case "boolean":
            truth = _TRUTHS.get(value.strip().lower()) if isinstance(value, str) else value
            if not isinstance(truth, bool):
                raise UnfitForm(f"`{_shown(field.name)}` should be true or false")
            return truth
        case _:
            assert_never(field.type)


def _number(value: FormScalar) -> int | float | None:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=lambda _: None)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
