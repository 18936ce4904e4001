"""Which steps of the table explain what a query's record and its event stream show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentic_flywheel.broker.lifecycle import STEPS
from agentic_flywheel.models import EventKind, State

#: Most steps that one rule of the model can take with one query.
MOST_STEPS = 5
_QUIET = frozenset({EventKind.RETRYING})
_QUIET_WHILE_ASKED = frozenset({EventKind.RETRYING, EventKind.STARTED, EventKind.ATTACHED})


@dataclass(frozen=True)
class Shown:
    """What a query's record says: its state (None: there is no record) and the reason beside it."""

    state: State | None
    reason: str


def explained(before: Shown, events: tuple[str, ...], after: Shown, *, in_parts: bool, steps: int = MOST_STEPS) -> bool:
    """Return whether steps of the table lead from one state and reason to another, with exactly these events.

    ``in_parts``: a part of a fan-out that goes to a fallback says so and leaves its query's state as it is; so does
    each step of a part while another part asks a person.
    """
    if before == after and not events:
        return True
    if steps == 0:
        return False
    onward = list(_one_step(before, events, after))
    quiet = _QUIET_WHILE_ASKED if before.state is State.INPUT_REQUIRED else _QUIET
    if in_parts and events and events[0] in quiet:
        onward.append((before, events[1:]))
    return any(explained(then, left, after, in_parts=in_parts, steps=steps - 1) for then, left in onward)


def _one_step(before: Shown, events: tuple[str, ...], after: Shown) -> Iterator[tuple[Shown, tuple[str, ...]]]:
    for step in STEPS:
        if before.state not in (step.before or {None}) or (step.event and events[:1] != (step.event,)):
            continue
        left = events[1:] if step.event else events
        # An end's reason is a sentence for people.
        reasons = {after.reason} if step.ends else {before.reason} if step.reasons is None else step.reasons or {""}
        yield from ((Shown(state, str(reason)), left) for state in step.after for reason in reasons)
