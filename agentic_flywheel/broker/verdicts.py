"""Judge one look of the audit: which open executions have no mover that a living worker acts on, and why. No I/O.

An execution is a query, an unfinished part of a fan-out, or a synthesis. A deadline is no mover: it ends an execution,
and moves nothing. What is said here is only a suspicion: the broker moved while the look was taken (see ``audit``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from agentic_flywheel.asker import session_id_of
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.sightings import Look, StepTaken, WaitingPlace
from agentic_flywheel.broker.wire import RENEWAL, QueryStage
from agentic_flywheel.models import TERMINAL, Model, State, WaitReason

#: A chain of followers that is longer leads in a circle.
_LONGEST_CHAIN = 64
#: Milliseconds for which a place of a flow's limit may outlive the lease that it belongs to.
_SLOT_MS = 10_000
#: Milliseconds after which a delayed message that is due should have been brought back.
_DUE_MS = 2_000

#: Fields of a record of which one changes with every step.
_MOVING = ("state", "reason", "attempts", "fence", "attached_to", "flow", "at")

Kind = Literal["query", "part", "synthesis", "queue", "counter", "owner", "message", "slot", "record", "key"]


class Offender(Model):
    """Something that breaks the rule, for a person to read."""

    kind: Kind
    #: The execution (``query`` or ``query|part``), or the name of what is wrong.
    id: str
    state: str = ""
    #: What it waits for.
    waits_for: str = ""
    #: Why that does not move it.
    why: str
    age: timedelta | None = None


class Suspicion(NamedTuple):
    """An offender, and what would be different had it moved since."""

    offender: Offender
    unmoved: tuple[object, ...]
    step: StepTaken | None = None
    #: Of an execution: what its record said, by field; empty where a field was absent.
    record: tuple[tuple[str, str], ...] = ()
    #: Whether another message in its queue would move it.
    helped_by_a_message: bool = True
    #: The key of a flow's parked executions, where it is one of them for nothing.
    parked_in: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.offender.kind, self.offender.id


def judge(seen: Look, *, visibility: timedelta) -> Iterator[Suspicion]:
    """Yield everything that breaks the rule, as far as one look can tell."""
    for query_id, fields in seen.records.items():
        if fields["state"] not in TERMINAL and fields["state"]:
            for step in steps_of(seen, query_id):
                yield from _Case(seen, visibility, step).judged()
    yield from _counters(seen)
    yield from _owners(seen)
    yield from _messages(seen)
    yield from _slots(seen)
    yield from _keys(seen)
    for query_id in sorted(seen.kept_for_ever):
        state = seen.records[query_id]["state"]
        why = "it has ended and has no TTL, so it stays for ever"
        yield Suspicion(Offender(kind="record", id=query_id, state=state, why=why), (state,))


def steps_of(seen: Look, query_id: str) -> list[StepTaken]:
    """Return the steps that an open query needs next: one, or one for each part that is not done."""
    fields = seen.records[query_id]
    if version_in(fields) > wire.VERSION:
        return [StepTaken(None, query_id)]
    route = _route(fields)
    if not route or fields["state"] == State.PENDING or route.get("decision") == "clarify":
        return [StepTaken(QueryStage.CLASSIFY, query_id)]
    if "parts" not in fields:
        return [StepTaken(QueryStage.ANSWER, query_id)]
    done = seen.done.get(query_id, set())
    missing = [target["flow"] for target in route.get("targets", ()) if target["flow"] not in done]
    parts = [StepTaken(QueryStage.ANSWER, query_id, part) for part in missing]
    return parts or [StepTaken(QueryStage.SYNTHESIZE, query_id)]


def version_in(fields: dict[str, str]) -> int:
    """Return the version that a record was made by."""
    return int(fields.get("v") or 0)


def _route(fields: dict[str, str]) -> dict[str, Any]:
    try:
        route = json.loads(fields.get("route", "null"))
    except ValueError:
        route = None
    return route if isinstance(route, dict) else {}


class _Case:
    """One step that an open query needs, compared with what was seen."""

    def __init__(self, seen: Look, visibility: timedelta, step: StepTaken) -> None:
        self.seen, self.step = seen, step
        self.fields = seen.records[step.query_id]
        #: Seconds after which a lease that was not renewed should have been given back.
        self.patience = 2 * visibility.total_seconds() + 2
        #: Why each mover that is there moves nothing.
        self.obstacles: list[str] = []
        self.helped_by_a_message = True

    def judged(self) -> Iterator[Suspicion]:
        if any(self._moves(place) for place in self._places()):
            return
        if self._asks_a_person() or self._follows_an_open_execution() or self._stands_in_line():
            return
        fields, (stage, query_id, part) = self.fields, self.step
        offender = Offender(
            kind="part" if part else "synthesis" if stage == QueryStage.SYNTHESIZE else "query",
            id=self.step.execution,
            state=f"{fields['state']}: {fields['reason']}" if fields.get("reason") else fields["state"],
            waits_for=self._waits_for(),
            why="; ".join(dict.fromkeys(self.obstacles))
            or "no message, delivery, delayed or parked entry of it exists",
            age=timedelta(milliseconds=max(0, self.seen.now - int(fields.get("created") or self.seen.now))),
        )
        done = len(self.seen.done.get(query_id, ()))
        record = tuple((name, fields.get(name, "")) for name in _MOVING)
        yield Suspicion(offender, (stage, done, record), self.step, record, self.helped_by_a_message)

    def _places(self) -> list[WaitingPlace]:
        """Return where messages of it were seen. A later version's query may also have a message of an earlier one."""
        steps = self.seen.steps
        if self.step.stage is not None:
            return steps.get(self.step, [])
        self.helped_by_a_message = False
        return [place for step, places in steps.items() if step.query_id == self.step.query_id for place in places]

    def _moves(self, place: WaitingPlace) -> bool:
        kind, where, renewed = place
        seen = self.seen
        if kind == "message" and where not in seen.read:
            self.helped_by_a_message = False
            self.obstacles.append(f"its message lies in queue {where}, which no living worker reads")
        elif kind == "parked" and not (seen.read and where in seen.swept["parked"]):
            self.obstacles.append(f"it is parked for flow {where}, which no living worker's sweep looks after")
        elif kind == "delayed" and not (seen.read and where in seen.swept["delayed"]):
            self.obstacles.append(f"it is delayed for queue {where}, which no living worker's sweep looks after")
        elif kind == "delivery" and renewed is None:
            self.obstacles.append("it was delivered, but its delivery has no lease: nobody gives it back")
        elif renewed is not None and self.seen.now / 1000 - renewed > self.patience:
            age = self.seen.now / 1000 - renewed
            self.obstacles.append(f"its delivery has not been renewed for {age:.0f} s, and nobody gives it back")
        else:
            return True
        return False

    def _asks_a_person(self) -> bool:
        """Whether a person is to move it, and a sweep ends it when the person's time is over."""
        if self.step.part in self.seen.asked.get(self.step.query_id, ()):
            if self.seen.read:
                return True
            self.obstacles.append("it waits for a person, and no living worker's sweep ends it in time")
            self.helped_by_a_message = False
        return False

    def _follows_an_open_execution(self) -> bool:
        name = self.step.execution
        leader = self.seen.follows.get(name)
        if leader is None:
            if self.fields.get("reason") == WaitReason.ATTACHED and not self.step.part:
                self.obstacles.append(f"it is not among the followers of {self.fields.get('attached_to') or '?'}")
            return False
        for _ in range(_LONGEST_CHAIN):
            if leader in self.seen.settling and self.seen.read:
                return True
            while leader in self.seen.heirs:
                leader = self.seen.heirs[leader]
            if not _runs(self.seen, leader):
                self.obstacles.append(f"it follows {leader}, which has ended")
                return False
            leader = self.seen.follows.get(leader)
            if leader is None:
                return True
            if leader == name:
                break
        self.obstacles.append("the executions that it follows lead back to itself")
        return False

    def _stands_in_line(self) -> bool:
        session, query_id = self.fields.get("session"), self.step.query_id
        if not session or self.fields.get("reason") != WaitReason.SESSION:
            return False
        line = self.seen.lines.get(session, [])
        if query_id not in self.seen.waiting_turns.get(session, ()):
            self.obstacles.append(f"its message is not kept beside the line of session {session}")
        elif query_id not in line:
            self.obstacles.append(f"it does not stand in the line of session {session}")
        elif line[0] == query_id:
            self.obstacles.append(f"it heads the line of session {session}, but was not let go")
        elif not self.seen.open(line[0]):
            self.obstacles.append(f"the head of the line of session {session}, {line[0]}, has ended")
        else:
            return True
        return False

    def _waits_for(self) -> str:
        stage, _, part = self.step
        reason = self.fields.get("reason", "")
        if reason == WaitReason.ATTACHED and not part:
            return f"the answer of {self.fields.get('attached_to', '?')}"
        if reason == WaitReason.SESSION:
            return f"its turn in session {session_id_of(self.fields.get('session') or '')}"
        if stage == QueryStage.ANSWER:
            return f"flow {part or self.fields.get('flow', '?')}"
        if stage is None:
            return f"a worker of version {self.fields['v']}"
        return "its classification" if stage == QueryStage.CLASSIFY else "the synthesis of its parts"


def _runs(seen: Look, execution: str) -> bool:
    """Whether an execution that others follow is open. A renewal is while it has its lease, so is a call under way."""
    if execution in seen.leased:
        return True
    query_id, _, part = execution.partition("|")
    if part.startswith(RENEWAL):
        return False
    return seen.open(query_id) and part not in seen.done.get(query_id, ())


def _counters(seen: Look) -> Iterator[Suspicion]:
    """Compare what the workers count, all together, by domain and as waiting for a person, with the records."""
    for query_id in seen.asked:
        fields = seen.records.get(query_id, {})
        if fields.get("state") != State.INPUT_REQUIRED:
            why = "it is counted among the queries that wait for a person, and does not"
            yield Suspicion(Offender(kind="counter", id=f"{wire.ASKED} {query_id}", why=why), (wire.ASKED,))
    for domain, counted in seen.counted.items():
        where = f"among the open queries of domain {domain}" if domain else "among the open queries"
        for query_id in counted:
            fields = seen.records.get(query_id, {})
            waits = fields.get("state") == State.INPUT_REQUIRED
            if not seen.open(query_id) or (domain and (waits or fields.get("domain") != domain)):
                why = f"it is counted {where}, and is none of them"
                yield Suspicion(Offender(kind="counter", id=f"{domain} {query_id}", why=why), (domain,))
    for query_id, fields in seen.records.items():
        if seen.open(query_id):
            # What waits for a person has no place in its domain.
            placed = fields.get("domain") and fields["state"] != State.INPUT_REQUIRED
            for domain in ("", fields["domain"]) if placed else ("",):
                if query_id not in seen.counted.get(domain, ()):
                    where = f"among the open queries of domain {domain}" if domain else "among the open queries"
                    why = f"it is open and not counted {where}" + ("" if domain else ": no worker looks after it")
                    yield Suspicion(Offender(kind="counter", id=f"{domain} {query_id}", why=why), ("missing", domain))


def _owners(seen: Look) -> Iterator[Suspicion]:
    """Compare what is counted for the limits of owners with the records that are open."""
    for owner, counted in seen.owned.items():
        for query_id in counted:
            fields = seen.records.get(query_id, {})
            if not _counts(seen, query_id) or fields.get("owner") != owner:
                why = f"it is counted as under way for {owner}, and is none of them"
                yield Suspicion(Offender(kind="owner", id=f"{owner} {query_id}", why=why), ("counted",))
        wrong = seen.owned_bytes[owner] - sum(counted.values())
        if wrong:
            why = f"the bytes under way of {owner} are counted as {wrong:+,} of what its queries have"
            yield Suspicion(Offender(kind="owner", id=f"{owner} ", why=why), (wrong,))
    for query_id, fields in seen.records.items():
        owner = fields.get("owner", "")
        if _counts(seen, query_id) and query_id not in seen.owned.get(owner, ()):
            why = f"it is open and not counted for the limits of {owner}"
            yield Suspicion(Offender(kind="owner", id=f"{owner} {query_id}", why=why), ("missing",))


def _counts(seen: Look, query_id: str) -> bool:
    """Whether a query counts for the limits of its owner: it is open, was counted, and does not wait for a person."""
    fields = seen.records.get(query_id, {})
    return seen.open(query_id) and "bytes" in fields and fields["state"] != State.INPUT_REQUIRED


def _messages(seen: Look) -> Iterator[Suspicion]:
    for step, places in seen.steps.items():
        parked_in = next((wire.parked_key(place.where) for place in places if place.kind == "parked"), "")
        if seen.open(step.query_id):
            continue
        if step.query_id in seen.records:
            if parked_in:
                why = f"its query has ended, and it is still parked in {parked_in}"
                yield Suspicion(Offender(kind="message", id=step.execution, why=why), (why,), parked_in=parked_in)
            continue
        where = ", ".join(sorted({f"{place.kind} {place.where!r}" for place in places}))
        if step.stage != QueryStage.CLASSIFY:
            waits_for = "its synthesis" if step.stage == QueryStage.SYNTHESIZE else "its flow"
            why = f"its record is missing, so nobody gets its answer ({where})"
            offender = Offender(kind="message", id=step.execution, waits_for=waits_for, why=why)
            yield Suspicion(offender, (where,), parked_in=parked_in)
        # A plain Celery client's query gets its record when it is delivered.
        elif all(place.kind == "message" and place.where not in seen.read for place in places):
            why = f"no living worker reads its queue ({where})"
            yield Suspicion(
                Offender(kind="message", id=step.execution, waits_for="its classification", why=why), (where,)
            )
    for where, text in sorted(seen.unreadable):
        what = "delivery" if where == wire.UNACKED else "message"
        why = f"this {what} in {where} is not a task message that can be read"
        yield Suspicion(Offender(kind="message", id=text[:60], why=why), (where, text))


def _keys(seen: Look) -> Iterator[Suspicion]:
    for key, (kind, usual) in sorted(seen.spoilt.items()):
        why = f"this key is a {kind} where a {usual} is expected: another program has written it; remove it with DEL"
        yield Suspicion(Offender(kind="key", id=key, why=why), (kind,))
    for key in sorted(seen.garbled):
        why = "this record is not UTF-8, so nobody can read it: another program has written it; remove it with DEL"
        yield Suspicion(Offender(kind="key", id=key, why=why), ())


def _slots(seen: Look) -> Iterator[Suspicion]:
    for flow, slots in seen.running.items():
        for execution, until in slots.items():
            if until > seen.now + _SLOT_MS and execution not in seen.leased:
                left = (until - seen.now) / 1000
                why = f"it has a place among the calls of flow {flow} for {left:.0f} s, without a lease"
                yield Suspicion(Offender(kind="slot", id=f"{flow} {execution}", why=why), (until,))


def overdue(before: Look, after: Look) -> list[Suspicion]:
    """Return the queues whose first delayed message was due before one look and is still there in a later one."""
    found = []
    for base, (due, entry) in before.due.items():
        if due < before.now - _DUE_MS and after is not before and after.due.get(base) == (due, entry):
            why = f"its first delayed message was due {(after.now - due) / 1000:.0f} s ago, and no sweep brings it back"
            found.append(Suspicion(Offender(kind="queue", id=base, why=why), (due, entry)))
    return found
