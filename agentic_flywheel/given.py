"""What a caller may give: the types of the fields that come from outside, and their bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from agentic_flywheel import texts
from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import InvalidQuery

MAX_QUESTION = 32_000
#: Characters of what is told of a domain beside it: more would crowd out the question.
MAX_CONTEXT = 8_000
#: Characters of the name of a form's field: Flowise's editor takes any.
MAX_FIELD_NAME = 1_000
#: Bytes of a whole query as JSON, its metadata, configuration and history included.
MAX_QUERY_BYTES = 256 * 1024
#: Longest time that a query may be given.
LONGEST_TIMEOUT = timedelta(days=100 * 366)


def _sound(value: Any) -> Any:
    return _without(texts.fault_in(value), value) if isinstance(value, str) else value


def _sound_name(value: Any) -> Any:
    return _without(texts.fault_in_name(value), value) if isinstance(value, str) else value


def _sound_json(value: Any) -> Any:
    return _without(texts.fault_in_value(value), value) if value else value


def _without(fault: str | None, value: Any) -> Any:
    """Return the value. Raises what pydantic tells as the field's error where there is a fault."""
    if fault is not None:
        raise PydanticCustomError("text", "{fault}", {"fault": fault})
    return value


def _says_something(text: str) -> str:
    if texts.is_blank(text):
        raise PydanticCustomError("blank", "it holds nothing but white space")
    return text


#: What one field of a form is filled in with. Flowise makes a text of it, so it is no list and no object.
FormScalar = str | bool | int | float


def text_of_form(form: Mapping[str, FormScalar]) -> str:
    """Return a filled-in form as Flowise writes it down: a line for each field."""
    return "\n".join(f"{name}: {text_of_value(value)}" for name, value in form.items())


def text_of_value(value: FormScalar) -> str:
    """Return what stands in a form's field as a text."""
    return value if isinstance(value, str) else json.dumps(value)


def _one_value(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float):
        raise PydanticCustomError("form_value", "it should be a text, a number, true or false")
    return value


#: Characters of names and of reasons in one error. Names come from outside, and there may be thousands of them.
_MOST_NAMES, _MOST_REASONS = 500, 2000

_SLUG = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
_WITHOUT_SPACE = r"^[^\s]+$"

#: A text from outside: no character in it that cannot be stored or shown.
Text = Annotated[str, BeforeValidator(_sound)]
#: What is asked. A byte order mark at its beginning is no part of it.
Question = Annotated[
    str,
    Field(min_length=1, max_length=MAX_QUESTION),
    BeforeValidator(_sound),
    AfterValidator(texts.without_mark),
    AfterValidator(_says_something),
]
#: What is told of a domain beside the question.
Context = Annotated[str, Field(min_length=1, max_length=MAX_CONTEXT), BeforeValidator(_sound)]
#: An object from outside: sound texts, finite numbers, a bounded depth.
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_sound_json)]
FormValue = Annotated[StrictStr | StrictBool | StrictInt | StrictFloat, BeforeValidator(_one_value)]
#: A filled-in form, by field.
Form = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=MAX_FIELD_NAME)], FormValue],
    BeforeValidator(_sound_json),
]
#: A name of a flow, domain, profile: safe in queue names, keys and file names.
Slug = Annotated[str, Field(pattern=_SLUG), BeforeValidator(_sound_name)]
#: An id that a caller may choose, in any script: a session, a user.
Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=_WITHOUT_SPACE), BeforeValidator(_sound_name)]
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_Sent = TypeVar("_Sent", bound=BaseModel)
#: What pydantic says in Python's words, for people who write JSON: by the error's type, or by the pattern of a text.
_WORDS = {
    "missing": "it is missing",
    "string_type": "it should be a text",
    "dict_type": "it should be an object",
    "list_type": "it should be a list",
    "tuple_type": "it should be a list",
    "model_type": "it should be an object",
    "too_short": "it should have at least {min_length} entries",
    "too_long": "it should have at most {max_length} entries",
    "finite_number": "it should be a finite number",
    "bool_type": "it should be true or false",
    "bool_parsing": "it should be true or false",
    "int_type": "it should be a whole number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "float_type": "it should be a number",
    "float_parsing": "it should be a number",
    "string_pattern_mismatch": "it does not have the form that is expected there",
    "string_unicode": "it holds half of a character, which can be neither stored nor shown",
    "extra_forbidden": "there is no field of this name",
    _SLUG: "it should be at most 128 letters, digits, '_', '.' and '-', and begin with a letter or digit",
    _WITHOUT_SPACE: "it should have no white space in it",
}
#: How what pydantic says of other faults begins: "Input should be 'low' or 'high'".
_OF_PYDANTIC = re.compile(r"^\w+ (?=should )")


#: The question of a query that has files and no words: it is spoken in one of them, or they are to be looked at.
WITHOUT_WORDS = "(see the uploads)"


class Asked(BaseModel):
    """What is asked: a question, the form with which a flow begins, or files. Base of all that can be asked."""

    #: Of a form it is the form's text: what records and traces show. Of files alone it is ``WITHOUT_WORDS``.
    question: Question
    #: Sent in place of the question.
    form: Form = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _has_question(cls, given: Any) -> Any:
        if type(given) is dict and "form" not in given and "uploads" not in given:
            return given
        form = given.get("form") if isinstance(given, dict) else None
        if form and not isinstance(form, dict):
            raise PydanticCustomError("form", "it should be an object: a value for each field")
        if form and not given.get("question"):
            # What is no value of a field is refused with its name, after this.
            values = {name: value if isinstance(value, FormScalar) else "" for name, value in form.items()}
            if len(text := text_of_form(values)) > MAX_QUESTION:
                raise PydanticCustomError(
                    "form", f"as a text it has {len(text):,} characters, at most {MAX_QUESTION:,} are accepted"
                )
            return {**given, "question": text}
        if isinstance(given, dict) and not form and given.get("uploads") and given.get("question") in ("", None):
            return {**given, "question": WITHOUT_WORDS}
        return given

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.form and self.question.strip() != text_of_form(self.form).strip():
            raise PydanticCustomError("both", "a flow takes a form or a question, not both: leave the question out")
        return self


def bounded(query: _Sent, *not_sent: str) -> _Sent:
    """Return a query, or what becomes one, if it is not too large. ``not_sent``: fields that stay here."""
    # Without one of these the bounds of the other fields keep it small.
    told = query.__dict__
    if told["config"] or told["form"] or told["history"] or told["metadata"]:
        size = len(query.model_dump_json(exclude_defaults=True, exclude=set(not_sent)).encode())
        if size > MAX_QUERY_BYTES:
            raise PydanticCustomError(
                "too_large", f"it has {size:,} bytes as JSON, at most {MAX_QUERY_BYTES:,} are accepted"
            )
    return query


def fault_of(refused: ValidationError) -> tuple[str, str]:
    """Return the first field that is not acceptable, and why; `query` where it is all of it."""
    first = refused.errors(include_input=False, include_url=False)[0]
    whole = "form" if first["type"] == "form" else "query"
    return ".".join(map(str, first["loc"]))[:_MOST_NAMES] or whole, reason_of(first)


def told_together(faults: Mapping[str, str]) -> tuple[str, str]:
    """Return the names of all fields that are not acceptable, and why, from the reason of each."""
    said = "; ".join(f"{name}: {reason}" if len(faults) > 1 else reason for name, reason in faults.items())
    return ", ".join(faults)[:_MOST_NAMES], said[:_MOST_REASONS]


def reason_of(fault: Mapping[str, Any]) -> str:
    """Return in words of JSON why a field is not acceptable, from what pydantic says of it."""
    context = fault.get("ctx", {})
    said = _WORDS.get(context.get("pattern", "")) or _WORDS.get(fault["type"])
    return said.format(**context) if said else _OF_PYDANTIC.sub("it ", str(fault["msg"]).removeprefix("Value error, "))


def asker_of(owner: Any, user: Any = None) -> Asker:
    """Return an owner and the user whom the owner names, if any. Raises InvalidQuery."""
    for field, name in (("owner", owner), ("user", user)):
        if name is not None or field == "owner":
            try:
                _IDENTIFIER.validate_python(name, strict=True)
            except ValidationError as refused:
                raise InvalidQuery(field, fault_of(refused)[1]) from None
    return Asker(owner, user)


def seconds_of(wait: Any) -> float | None:
    """Return how long a caller wants to wait, in seconds; None: as long as it takes. Raises InvalidQuery."""
    if wait is None:
        return None
    with suppress(TypeError, ValueError, OverflowError):
        seconds = float(wait)
        if 0 <= seconds <= LONGEST_TIMEOUT.total_seconds():
            return seconds
    raise InvalidQuery("wait", "it should be a number of seconds from 0 to a hundred years, or None")


def deadline_after(timeout: Any) -> datetime:
    """Return the moment at which a time-out, in seconds or as a timedelta, is over. Raises InvalidQuery."""
    try:
        span = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
    except (TypeError, ValueError, OverflowError):
        span = timedelta.max
    if abs(span) > LONGEST_TIMEOUT:
        raise InvalidQuery("timeout", "it should be a number of seconds, or a timedelta, of at most a hundred years")
    return datetime.now(UTC) + span
