"""``flywheel audit``: find accepted queries that nothing will move, and put them back into their queues."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import Audited, audit
from agentic_flywheel.broker.verdicts import Offender
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.stack import stack_settings
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.screen import Screen


def audit_(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put a new message for each into its queue, and right the counters.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check that every accepted query has something that a living worker acts on; a line for each that has not.

    It reads everything in the broker, in small steps, and again twice before it reports anything: a second or two on
    a small stack, minutes on a million queries. Ends with code 1 when something is wrong and was not repaired.
    """
    screen = Screen(json)
    with screen.reporting():
        settings = stack_settings()
        # Only new messages need the registry: one that cannot be read hides no offender.
        catalog = load_catalog(find_registry(settings.registry)) if repair else None
        found = asyncio.run(audit(settings, mend=catalog))
    if json:
        screen.object(_object(found))
    else:
        _show(screen, found)
    if found.left:
        raise typer.Exit(Exit.FAILED)


def _object(found: Audited) -> dict[str, Any]:
    return {
        "ok": not found.left,
        "open": found.open,
        "versions": {str(version): number for version, number in sorted(found.versions.items())},
        "offenders": [
            {
                **each.model_dump(mode="json", exclude={"age"}),
                "age_s": None if each.age is None else round(each.age.total_seconds(), 1),
                "repaired": each in found.repaired,
            }
            for each in found.offenders
        ],
    }


def _show(screen: Screen, found: Audited) -> None:
    for each in found.offenders:
        screen.line((f"{each.kind} ", "bold"), _sentence(each), *([" → repaired"] if each in found.repaired else []))
    if found.left:
        screen.line(f"{len(found.left)} offenders; {found.open} queries are open{_by_version(found)}.")
        screen.note("flywheel audit --repair puts lost queries back into their queues.")
    else:
        screen.line(f"{found.open} queries are open{_by_version(found)}, and each has what moves it.")


def _by_version(found: Audited) -> str:
    """Say how many are of which version, where any is not of this one: before a roll-back none may be of a later."""
    if found.versions.keys() <= {wire.VERSION}:
        return ""
    counted = [f"{number} of version {version}" for version, number in sorted(found.versions.items())]
    return f" ({', '.join(counted)})"


def _sentence(each: Offender) -> str:
    facts = [each.state, f"{each.age.total_seconds():.0f} s old" if each.age is not None else ""]
    about = ", ".join(filter(None, facts))
    waits = f", waits for {each.waits_for}" if each.waits_for else ""
    return f"{each.id}{f' ({about})' if about else ''}{waits}: {each.why}"
