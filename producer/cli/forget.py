"""``flywheel forget``: delete what is known of a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.forgetting import Person
from agentic_flywheel.given import asker_of
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.screen import Screen
from producer.client import AsyncProducer

if TYPE_CHECKING:
    from producer.forgetting import Forgotten


def forget(
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", show_default=False, help="Whose.")],
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Of this user of the owner alone.")] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="Of this session alone.")] = None,
    json: options.Json = False,
) -> None:
    """Delete what is known of a person: queries, sessions, kept answers, lessons, scores, dead letters, traces.

    Open queries are cancelled first. What Flowise remembers is deleted there, where an API key is set. Nothing of it
    comes back. What could not be reached is said.
    """
    screen = Screen(json, owner, user)
    with screen.reporting():
        found = asyncio.run(_forget(Person(asker_of(owner, user), session)))
    if json:
        screen.object(found.model_dump(mode="json"))
    else:
        _show(screen, found)
    if found.unfinished:
        raise typer.Exit(Exit.FAILED)


async def _forget(person: Person) -> Forgotten:
    async with AsyncProducer(client="cli") as producer:
        from producer.forgetting import forget as forget_person

        return await forget_person(producer.settings, producer.catalog, person)


def _show(screen: Screen, found: Forgotten) -> None:
    if found.cancelled:
        screen.line(f"cancelled  {found.cancelled} open queries")
    for name, number in found.deleted.items():
        screen.line(f"deleted    {number} {name}")
    if not found.deleted:
        screen.line(f"Nothing is known of {Asker(found.owner, found.user).name}.")
    for each in found.left:
        screen.line(("left       ", "yellow"), each)
