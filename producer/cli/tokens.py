"""``flywheel tokens``: who may come in over the network, for what, how long, and how much."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from agentic_flywheel.access.file import StoredToken, new_token, read_file, revoke, tokens_path
from agentic_flywheel.access.grant import Scope, owner_of, read_scopes
from agentic_flywheel.access.limits import MOST, OwnLimits
from agentic_flywheel.given import reason_of
from agentic_flywheel.settings import load_settings
from producer.cli import options
from producer.cli.failures import exit_of
from producer.cli.screen import Screen

tokens = options.command_group("Make, list and revoke the tokens with which others come in.")


def _limit(what: str) -> Any:
    return typer.Option(min=0, max=MOST, metavar="N", help=f"{what}; 0: no limit. Left out: as the settings say.")


def _until(text: str) -> datetime:
    """Return when a token expires that is given for so long, or until the beginning of a day (UTC)."""
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        return (datetime.now(UTC) + options.duration(text)).replace(microsecond=0)
    return day if day.tzinfo is not None else datetime.combine(day.date(), time(day.hour, day.minute), UTC)


@tokens.command()
def new(
    whose: Annotated[str, typer.Argument(metavar="OWNER", show_default=False, help="Whose queries it asks.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE,…", help="ask, read, manage, admin.", show_default="ask,read"),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires", metavar="WHEN", parser=_until, help="90d, 12h, or a date: 2027-01-31.", show_default="never"
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What it is for.", show_default=False)] = "",
    queries_a_minute: Annotated[int | None, _limit("Queries a minute")] = None,
    under_way: Annotated[int | None, _limit("Queries under way at once")] = None,
    bytes_under_way: Annotated[int | None, _limit("Bytes of the queries under way")] = None,
    calls_a_day: Annotated[int | None, _limit("Calls of flows a day")] = None,
    weight: Annotated[
        int | None, typer.Option(min=1, max=10, metavar="N", help="Turns for each one of another owner.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Make a token and print it, this once: only its hash is kept. Bridges that run take it over by themselves."""
    try:
        owner_of(whose)
    except ValueError as refused:
        raise typer.BadParameter(f"{refused}.", param_hint="OWNER") from None
    if expires is not None and expires <= datetime.now(UTC):
        raise typer.BadParameter("it would have expired already.", param_hint="--expires")
    if len(note) > 200 or not note.isprintable():
        raise typer.BadParameter("it is one line of at most 200 characters.", param_hint="--note")
    limits = _limits(
        queries_a_minute=queries_a_minute,
        under_way=under_way,
        bytes_under_way=bytes_under_way,
        calls_a_day=calls_a_day,
        weight=weight,
    )
    screen = Screen(json)
    with screen.reporting():
        path = tokens_path(load_settings())
        made = new_token(path, whose, _scopes(scope), expires=expires, note=note, limits=limits)
    if screen.json:
        screen.object({"token": made.text, **_shown(made.stored)})
        return
    screen.line(made.text)
    screen.note(f"Keep it: it is not shown again. `flywheel tokens revoke {made.stored.id}` ends it.")


def _scopes(given: list[str] | None) -> tuple[Scope, ...]:
    try:
        found = read_scopes(given or ["ask,read"])
    except ValueError:
        found = ()
    if not found:
        raise typer.BadParameter(f"choose from {', '.join(Scope)}.", param_hint="--scope")
    return found


def _limits(**given: int | None) -> OwnLimits:
    try:
        return OwnLimits(**given)
    except ValidationError as refused:
        first = refused.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(reason_of(first), param_hint=f"--{name}") from None


@tokens.command("list")
def list_(json: options.Json = False) -> None:
    """List the tokens, without themselves."""
    screen = Screen(json)
    with screen.reporting():
        path = tokens_path(load_settings())
        found = read_file(path).tokens
    if screen.json:
        for each in found:
            screen.object(_shown(each))
    elif not found:
        screen.line(f"There is no token in {path}.")
    else:
        screen.table(
            ("id", "owner", "scopes", "created", "expires", "limits", "note"),
            [
                (
                    each.id,
                    each.owner,
                    ", ".join(each.scopes),
                    f"{each.created:%Y-%m-%d}",
                    _expiry(each),
                    ", ".join(f"{name} {value:,}" for name, value in each.limits.given.items()),
                    each.note,
                )
                for each in found
            ],
            keep=("id",),
        )


def _expiry(token: StoredToken) -> str:
    if token.expires is None:
        return "never"
    return f"{token.expires.astimezone(UTC):%Y-%m-%d %H:%M}" + (", expired" if token.grant.expired else "")


@tokens.command("revoke")
def revoke_(
    token_ids: Annotated[list[str], typer.Argument(metavar="ID…", show_default=False)], json: options.Json = False
) -> None:
    """Have tokens let nobody in any more, within a second and for ever; what is open for them ends."""
    screen = Screen(json)
    with screen.reporting():
        done = revoke(tokens_path(load_settings()), token_ids)
    for each in done.revoked:
        if screen.json:
            screen.object({"id": each, "revoked": True})
        else:
            screen.line(f"{each} lets nobody in any more.")
    if done.fault is not None:
        screen.note(f"Whether there were such tokens cannot be seen. {done.fault.message}")
    for unknown in done.unknown:
        screen.failure(unknown.describe())
    if done.unknown:
        raise typer.Exit(exit_of(done.unknown[0]))


def _shown(token: StoredToken) -> dict[str, Any]:
    said = token.model_dump(mode="json", exclude={"digest", "limits"})
    return {**said, "expired": token.grant.expired, "limits": token.limits.given}
