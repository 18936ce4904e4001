"""Route many questions without asking them, and compare the routes of two registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import Route
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.replay.files import read_named
from producer.replay.items import ReplayItem
from producer.replay.reads import Hints, Problem

_SHOWN = 70


def questions_of(file: str, told: Hints, on_note: Callable[[str], None]) -> list[str]:
    """Return the questions of a file, or of stdin for ``-``, as a replay reads it. Raises InvalidQuery.

    ``told``: what the file does not say; ``on_note`` hears what was assumed of it.
    """
    found = []
    title = "stdin" if file == "-" else file
    try:
        for read in read_named(file, told):
            if isinstance(read, Problem):
                raise ValueError(f"line {read.number}: {read.reason}")
            if isinstance(read, ReplayItem):
                found.append(read.question)
            else:
                on_note(f"{title} {read.text}")
    except (OSError, ValueError) as refused:
        raise InvalidQuery("--file", f"{title} cannot be read: {refused}") from None
    if not found:
        raise InvalidQuery("--file", f"{title} has no question")
    return found


def show_routes(screen: Screen, questions: Sequence[str], routes: Sequence[Route]) -> None:
    """Show where each question would go."""
    if screen.json:
        for question, found in zip(questions, routes, strict=True):
            screen.object({"question": question, **_place(found), "novel": found.novel, "reason": found.reason})
        return
    screen.table(
        ("question", "goes to", "sure", "band", "decision"),
        [
            (one_line(question, _SHOWN), _flows(found), f"{found.confidence:.0%}", found.band, found.decision)
            for question, found in zip(questions, routes, strict=True)
        ],
        right=("sure",),
    )


def show_moves(screen: Screen, questions: Sequence[str], before: Sequence[Route], after: Sequence[Route]) -> None:
    """Show the questions that would go elsewhere, from where, to where, and how sure either is."""
    moved = [
        (question, one, other)
        for question, one, other in zip(questions, before, after, strict=True)
        if _flows(one) != _flows(other)
    ]
    if screen.json:
        screen.object({"questions": len(questions), "moved": len(moved)})
        for question, one, other in moved:
            screen.object({"question": question, "from": _place(one), "to": _place(other), "reason": other.reason})
        return
    if moved:
        screen.table(
            ("question", "from", "sure", "to", "sure then"),
            [
                (
                    one_line(question, _SHOWN),
                    _flows(one),
                    f"{one.confidence:.0%}",
                    (_flows(other), "bold cyan"),
                    f"{other.confidence:.0%}",
                )
                for question, one, other in moved
            ],
            right=("sure", "sure then"),
        )
    screen.line(f"{len(moved)} of {len(questions)} questions would go elsewhere.")


def _flows(route: Route) -> str:
    return " + ".join(sorted(target.flow for target in route.targets))


def _place(route: Route) -> dict[str, Any]:
    return {
        "flows": [target.flow for target in route.targets],
        "domains": [target.domain for target in route.targets],
        "confidence": round(route.confidence, 4),
        "band": route.band,
        "decision": route.decision,
    }
