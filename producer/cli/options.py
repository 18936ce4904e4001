"""Arguments that several commands share."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperOption

from agentic_flywheel.given import MAX_QUESTION
from agentic_flywheel.once import GivenTwice, once
from producer.cli.safe_text import one_line


def command_group(summary: str) -> typer.Typer:
    """Return a command that has commands of its own. Help is plain text: rich help would take a second to import."""
    return typer.Typer(help=summary, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def shown(given: str) -> str:
    """Return what was given, in quotes, as it can stand in a sentence: on one line and not too long."""
    return repr(one_line(given, 60))


def refusal_of(refused: typer.BadParameter) -> str:
    """Return why a value is not acceptable. Of a number and a choice, Typer tells pydantic's words: here are ours."""
    from pydantic import ValidationError

    if not isinstance(refused.__cause__, ValidationError) or not isinstance(refused.param, TyperOption | TyperArgument):
        return str(refused.message)
    given = refused.__cause__.errors(include_url=False, include_context=False)[0]["input"]
    return f"{shown(str(given))} is not {_expected(refused.param)}."


def _expected(parameter: TyperOption | TyperArgument) -> str:
    kind, least, most = parameter.type_descriptor, parameter.min, parameter.max
    if kind.choices is not None:
        return f"one of {', '.join(map(str, kind.choices))}"
    bounds = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
    return f"a whole number{bounds}" if kind.annotation is int else f"a number{bounds}"


def duration(text: str) -> timedelta:
    """Return the duration that ``30``, ``30s``, ``15m`` or ``7d`` means."""
    from agentic_flywheel.catalog import parse_duration

    try:
        span: timedelta = parse_duration(text)
    except ValueError as refused:
        raise typer.BadParameter(f"{shown(text)} {refused}") from None
    return span


def time_limit(text: str) -> timedelta:
    """Return the duration, above zero, that ``30``, ``30s``, ``15m`` or ``7d`` means."""
    span = duration(text)
    if not span:
        raise typer.BadParameter("it should be above zero: give seconds, or text such as 500ms, 30s, 15m, 7d.")
    return span


def event_id(text: str) -> str:
    """Return the id of an event, as ``stream`` prints it."""
    from agentic_flywheel.broker.events import is_place

    if not is_place(text):
        raise typer.BadParameter(
            f"{shown(text)} is no event id: `flywheel stream` prints them, such as 1763958000000-0."
        )
    return text


Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, and nothing else.")]
Owner = Annotated[
    str,
    typer.Option("--owner", metavar="NAME", help="Whose; each token of the MCP bridge has one."),
]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="For whom of the owner's users.")]
QueryId = Annotated[str, typer.Argument(metavar="QUERY_ID", show_default=False)]
Question = Annotated[str, typer.Argument(metavar="QUESTION", show_default=False, help="`-` reads it from stdin.")]
QuestionOrForm = Annotated[
    str | None,
    typer.Argument(
        metavar="[QUESTION]",
        show_default=False,
        help="`-` reads it from stdin. A form or files may stand in its place.",
    ),
]
Form = Annotated[
    list[str] | None,
    typer.Option("--form", metavar="NAME=VALUE", help="Fill in a field of the flow's form, or JSON all; repeatable."),
]
Upload = Annotated[
    list[str] | None,
    typer.Option("--upload", metavar="FILE", help="A file to give the flow, or the address of an image; repeatable."),
]
EncodingName = Annotated[
    str,
    typer.Option("--encoding", metavar="NAME", help="Of a text file: windows-1252, shift_jis, …; else found out."),
]
ColumnName = Annotated[
    str,
    typer.Option("--column", metavar="NAME", help="Of a file: where its questions are, unless in `question`."),
]
Flow = Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Ask this flow; no classification.")]
Domain = Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", help="Ask a flow of this domain.")]
SessionId = Annotated[str | None, typer.Option("--session", metavar="ID", help="The conversation it belongs to.")]
Profile = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="The domain profile to use.")]
ContextKind = Annotated[
    str | None,
    typer.Option("--context", metavar="KIND", help="What of it: technical, cultural, strategic or general (all)."),
]
Timeout = Annotated[
    timedelta | None,
    typer.Option("--timeout", metavar="TIME", parser=time_limit, help="Give the query up after this: 30, 90s, 5m."),
]
Wait = Annotated[
    timedelta | None,
    typer.Option("--wait", metavar="TIME", parser=duration, help="Stop waiting after this; the query goes on."),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", metavar="KEY", help="Repeating the same question under this key asks it only once."
    ),
]
PriorityName = Annotated[str, typer.Option("--priority", metavar="BAND", help="high, normal or low.")]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="NAME=VALUE", help="Override one value of the flow's configuration; repeatable."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor fill the cache.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Do not read the cache, but fill it.")]


def question_given(question: str | None, form: list[str] | None, upload: list[str] | None) -> str:
    """Return what was given as a question; empty where a form or files stand in its place. Else it is wrong usage."""
    if question is None and not form and not upload:
        lacking = "it is missing, and so is a form (--form NAME=VALUE) or a file (--upload FILE)."
        raise typer.BadParameter(lacking, param_hint="QUESTION")
    return question or ""


def question_text(given: str) -> str:
    """Return the question, from stdin where ``-`` was given, without line ends at its end; no more than is too long."""
    if given != "-":
        return given
    if isinstance(sys.stdin, TextIOWrapper):
        # What is not UTF-8 is refused as what it is, instead of ending the command here.
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdin.read(2 * MAX_QUESTION).rstrip("\r\n")


def query_fields(
    *,
    flow: str | None,
    domain: str | None,
    session: str | None,
    profile: str | None,
    context: str | None,
    timeout: timedelta | None,
    priority: str,
    config: list[str] | None,
    form: list[str] | None,
    upload: list[str] | None,
    no_cache: bool,
    refresh: bool,
) -> dict[str, Any]:
    """Return what was given as fields of a query."""
    if no_cache and refresh:
        raise typer.BadParameter("--no-cache and --refresh exclude each other.")
    fields: dict[str, Any] = {
        "flow": flow,
        "domain": domain,
        "session_id": session,
        "profile": profile,
        "context_type": context,
        "timeout": timeout,
        "priority": priority,
        "config": pairs(config or [], "--config"),
        "form": filled_in(form or []),
        "uploads": [upload_given(each) for each in upload or []],
        "cache": "bypass" if no_cache else "refresh" if refresh else "use",
    }
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def upload_given(given: str) -> str | Path:
    """Return the address that was given, or the path. An address of any kind is one: it is not looked for as a file."""
    return given if not given or re.match("[A-Za-z]+://|(data|file):", given, re.IGNORECASE) else Path(given)


def filled_in(given: list[str]) -> dict[str, Any]:
    """Return a form from ``NAME=VALUE`` pairs, whose values are texts, or from one JSON object."""
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        try:
            found = json.loads(given[0], object_pairs_hook=once)
        except GivenTwice as twice:
            raise typer.BadParameter(f"{twice}.", param_hint="--form") from None
        except ValueError as refused:
            raise typer.BadParameter(f"it is not JSON: {refused}.", param_hint="--form") from None
        return dict(found)
    try:
        return once([name_and_value(pair, "--form") for pair in given])
    except GivenTwice as twice:
        raise typer.BadParameter(f"{twice}.", param_hint="--form") from None


def name_and_value(pair: str, option: str) -> tuple[str, str]:
    """Return both sides of ``NAME=VALUE``. A name may be JSON; one that has an equals sign in it has to be."""
    name, separator, value = pair.partition("=")
    if pair.startswith('"'):
        with suppress(ValueError):
            quoted, end = json.JSONDecoder().raw_decode(pair)
            if pair.startswith("=", end):
                name, separator, value = quoted, "=", pair[end + 1 :]
    if not name or not separator:
        raise typer.BadParameter(f"{shown(pair)} is not NAME=VALUE.", param_hint=option)
    return name, value


def pairs(given: list[str], option: str) -> dict[str, Any]:
    """Return ``NAME=VALUE`` pairs as a mapping; a value that is JSON counts as such, any other as text."""
    found: dict[str, Any] = {}
    for key, value in (name_and_value(pair, option) for pair in given):
        if key in found:
            raise typer.BadParameter(f"the key {shown(key)} is given twice.", param_hint=option)
        try:
            found[key] = json.loads(value, object_pairs_hook=once)
        except GivenTwice as twice:
            raise typer.BadParameter(f"{twice}.", param_hint=option) from None
        except ValueError:
            found[key] = value
    return found
