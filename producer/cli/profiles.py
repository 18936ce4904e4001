"""``flywheel profiles``: the domain profiles, whose texts are sent to flows with each question."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker.sessions import Session
from agentic_flywheel.given import asker_of
from agentic_flywheel.profiles import ContextType, Privacy, Profile, ProfileWatch, read_profile
from agentic_flywheel.profiles.reading import NAME, SUFFIX
from agentic_flywheel.profiles.templates import TEMPLATES, new_profile
from agentic_flywheel.profiles.watch import PLACE
from agentic_flywheel.settings import load_settings
from agentic_flywheel.whole_files import naming
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen

profiles = options.command_group("List, show and make domain profiles, and have a session carry one.")

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@profiles.command("list")
def list_(owner: options.Owner = LOCAL, json: options.Json = False) -> None:
    """List the profiles that you may use, then the files that are refused and why."""
    screen = Screen(json, owner)
    with screen.reporting():
        watch = ProfileWatch(load_settings().profiles)
        found, faults = watch.readable(owner), watch.faults()
    if json:
        for profile in found:
            screen.object(_about(profile))
        for fault in faults:
            screen.object({"path": fault.path, "line": fault.line, "key": fault.key, "reason": fault.reason})
        return
    if found:
        screen.table(
            ("profile", "privacy", "owners", "context", "what it is"),
            [
                (
                    profile.name,
                    (profile.privacy, "yellow") if profile.confidential else profile.privacy,
                    ", ".join(profile.owners) or ("everybody", "dim"),
                    ", ".join(profile.kinds),
                    one_line(profile.description, 60),
                )
                for profile in found
            ],
        )
    else:
        screen.line("No profiles for you: `flywheel profiles new NAME` makes one.")
    for fault in faults:
        screen.line(("✗ ", "bold red"), fault.fault)


def _about(profile: Profile) -> dict[str, object]:
    about = profile.model_dump(mode="json")
    return {**about, "revision": profile.revision, "source": profile.source}


@profiles.command()
def show(
    name: Name,
    kind: Annotated[
        str | None,
        typer.Option("--as", metavar="KIND", help="technical, cultural, strategic or general; default: every kind."),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--for", metavar="QUESTION", help="What a flow is told with this question.")
    ] = None,
    owner: options.Owner = LOCAL,
    json: options.Json = False,
) -> None:
    """Show a profile, and the text that a flow receives from it."""
    screen = Screen(json, owner)
    if kind is not None and question is not None:
        raise typer.BadParameter("--as and --for exclude each other.")
    with screen.reporting():
        profile = ProfileWatch(load_settings().profiles).get(name, owner)
        shown = _kind(kind) if question is None else profile.context_type or _kind_for(question)
    if json:
        screen.object({**_about(profile), "kind": shown, "text": profile.text(shown)})
        return
    owners = ", ".join(profile.owners) or "everybody"
    screen.facts(
        [
            ("profile", (profile.name, "bold")),
            ("privacy", profile.privacy),
            ("owners", owners),
            ("context", ", ".join(profile.kinds)),
            ("revision", profile.revision),
            ("from", profile.source),
        ]
    )
    screen.line()
    screen.line((f"A flow is told, with a {shown} question:", "dim"))
    screen.line(profile.text(shown))


def _kind_for(question: str) -> ContextType:
    from agentic_flywheel.profiles import context_type_of

    return context_type_of(question)


def _kind(given: str | None) -> ContextType:
    if given is not None and given not in get_args(ContextType):
        raise typer.BadParameter(
            f"{options.shown(given)} is none of {', '.join(get_args(ContextType))}.", param_hint="--as"
        )
    return cast(ContextType, given or "general")


@profiles.command()
def new(
    name: Name,
    template: Annotated[
        str, typer.Option("--template", metavar="KIND", help="technical, cultural, strategic or general: all of them.")
    ] = "general",
    title: Annotated[str, typer.Option("--title", metavar="TEXT")] = "",
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What the domain is.")] = "",
    privacy: Annotated[str, typer.Option("--privacy", metavar="LEVEL", help="public, internal or confidential.")] = (
        "internal"
    ),
    owner: options.Owner = LOCAL,
    json: options.Json = False,
) -> None:
    """Make a profile from a template, to be filled in. It can be used at once; a confidential one is yours alone."""
    screen = Screen(json, owner)
    if not NAME.match(name):
        raise typer.BadParameter("a name has letters, digits, `-`, `_` and `.`, at most 128.", param_hint="NAME")
    if template not in TEMPLATES:
        raise typer.BadParameter(
            f"{options.shown(template)} is none of {', '.join(TEMPLATES)}.", param_hint="--template"
        )
    if privacy not in get_args(Privacy):
        raise typer.BadParameter(
            f"{options.shown(privacy)} is none of {', '.join(get_args(Privacy))}.", param_hint="--privacy"
        )
    with screen.reporting():
        folder = load_settings().profiles or Path.cwd() / PLACE
        path = folder / f"{name}{SUFFIX}"
        text = new_profile(
            name,
            template,
            title=title,
            description=description,
            privacy=cast(Privacy, privacy),
            owner=owner,
        )
        _write(path, text, private=privacy == "confidential")
        profile = read_profile(path)
    if json:
        screen.object(_about(profile))
        return
    screen.line(f"The profile {name} is in {path}.")
    screen.note((f"Fill it in, then look at what a flow is told: flywheel profiles show {name}", "dim"))


def _write(path: Path, text: str, *, private: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    except FileExistsError:
        raise typer.BadParameter(f"{path} is there already; it is left as it is.", param_hint="NAME") from None
    try:
        with naming(path), open(made, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        path.unlink()  # half of a profile would be refused everywhere, and stand in the way of the next attempt
        raise


@profiles.command()
def use(
    session: Annotated[str, typer.Option("--session", metavar="ID", show_default=False, help="The conversation.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    nothing: Annotated[bool, typer.Option("--none", help="The session carries no profile any more.")] = False,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Set the profile of a session: its queries use it, unless they name another one."""
    if (name is None) != nothing:
        raise typer.BadParameter("give one of: a profile's name, --none.")
    screen = Screen(json, owner, user)
    with screen.reporting():
        found = asyncio.run(_use(asker_of(owner, user), session, name))
    if json:
        screen.object(found.model_dump(mode="json"))
    else:
        screen.line(f"The session {session} carries the profile {name}." if name else f"{session} carries no profile.")


async def _use(asker: Asker, session_id: str, name: str | None) -> Session:
    from producer.client import AsyncProducer

    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        return await producer.use_profile(session_id, name)
