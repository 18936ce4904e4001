"""The one table of a query's steps: from which states into which, with which reason and event.

The scripts' Lua tables, the model test, and the table and picture in ``docs/engine.md`` are made from it. A script can
set a state only by a step of this table: ``STEP.started`` in its source becomes the fields that the step writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.models import TERMINAL, EventKind, State, WaitReason

OPEN = frozenset(State) - TERMINAL
_WAITS_FOR_WORKER = frozenset({WaitReason.REGISTRY, WaitReason.VERSION})
_WAITS_FOR_FLOW = frozenset({WaitReason.PAUSED, WaitReason.RATE, WaitReason.CIRCUIT, WaitReason.CONCURRENCY})


@dataclass(frozen=True)
class Step:
    """One kind of step. Where it allows several states or reasons, the script passes one of them."""

    name: str
    #: States from which the step leads; empty: the query is new.
    before: frozenset[State]
    after: frozenset[State]
    #: The reasons that can be written. None: the reason is left as it is; empty: it is cleared.
    reasons: frozenset[WaitReason] | None
    event: EventKind | None
    #: What happens, for the table in the docs.
    meaning: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields and values that a script writes, as Lua; ``?`` stands for a value that the script passes."""
        written = ["'state'", _fixed(self.after)]
        if self.reasons is not None:
            written += ["'reason'", _fixed(self.reasons or frozenset({""})) if not self.ends else "?"]
        return tuple(written)

    @property
    def ends(self) -> bool:
        return self.after <= TERMINAL


def _fixed(values: frozenset[str]) -> str:
    return f"'{next(iter(values))}'" if len(values) == 1 else "?"


def _step(
    name: str,
    meaning: str,
    *,
    before: frozenset[State] = OPEN,
    after: State | frozenset[State],
    reason: WaitReason | frozenset[WaitReason] | None = frozenset(),
    event: EventKind | None = None,
) -> Step:
    states = after if isinstance(after, frozenset) else frozenset({after})
    reasons = frozenset({reason}) if isinstance(reason, WaitReason) else reason
    return Step(name, before, states, reasons, event, meaning)


_NEW: frozenset[State] = frozenset()
#: States in which an answer's message can be delivered: routed, parked, before a retry, or left by a lost worker.
_ROUTED = frozenset({State.QUEUED, State.WAITING, State.RUNNING})
#: States in which a flow can stop. Of a fan-out, another part may be in any of them, or ask a person too.
_STOPPABLE = _ROUTED | {State.INPUT_REQUIRED}

STEPS = (
    _step("answered", "answered from the cache at submission", before=_NEW, after=State.SUCCEEDED, reason=None),
    _step("accepted", "recorded, its message in the queue `classify`", before=_NEW, after=State.PENDING, reason=None),
    _step(
        "lined_up",
        "an earlier turn of its session is open",
        before=frozenset({State.PENDING}),
        after=State.WAITING,
        reason=WaitReason.SESSION,
    ),
    _step(
        "called_up",
        "the turn before it has ended",
        before=frozenset({State.WAITING}),
        after=State.PENDING,
    ),
    _step(
        "attached",
        "the identical call of another query is under way",
        after=State.WAITING,
        reason=WaitReason.ATTACHED,
        event=EventKind.ATTACHED,
    ),
    _step(
        "promoted",
        "the query that it was attached to is gone without an answer",
        before=frozenset({State.WAITING}),
        after=frozenset({State.PENDING, State.QUEUED}),
    ),
    _step(
        "routed",
        "classified, its message in the queue of a domain",
        before=frozenset({State.PENDING, State.WAITING}),
        after=State.QUEUED,
        event=EventKind.ROUTED,
    ),
    _step("started", "a call of its flow begins", before=_ROUTED, after=State.RUNNING, event=EventKind.STARTED),
    _step(
        "parked",
        "its flow may not be called now",
        before=_ROUTED,
        after=State.WAITING,
        reason=_WAITS_FOR_FLOW,
        event=EventKind.WAITING,
    ),
    _step(
        "deferred",
        "the call failed, a retry is due later",
        before=frozenset({State.RUNNING, State.WAITING}),
        after=State.WAITING,
        reason=WaitReason.RETRY,
        event=EventKind.RETRYING,
    ),
    _step("rerouted", "sent to the fallback of its flow", before=_ROUTED, after=State.QUEUED, event=EventKind.RETRYING),
    _step(
        "asked",
        "its flow has stopped and asks a person",
        before=_STOPPABLE,
        after=State.INPUT_REQUIRED,
        event=EventKind.INPUT_REQUIRED,
    ),
    _step(
        "decided",
        "a person has decided; of a fan-out, another part may still ask",
        before=frozenset({State.INPUT_REQUIRED}),
        after=frozenset({State.QUEUED, State.INPUT_REQUIRED}),
        event=EventKind.DECIDED,
    ),
    _step(
        "handed_on",
        "the worker that had its message does not know its flow, its domain or its version",
        after=State.WAITING,
        reason=_WAITS_FOR_WORKER,
        event=EventKind.WAITING,
    ),
    _step(
        "rebuilt",
        "nothing moved it any more, so its message was made anew",
        after=frozenset({State.PENDING, State.QUEUED}),
    ),
    _step("ended", "its final state; nothing leaves it", after=TERMINAL, event=EventKind.FINAL),
)
