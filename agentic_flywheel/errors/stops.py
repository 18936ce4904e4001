"""Failures around flows that stop and ask a person."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentic_flywheel.errors.base import RETRY_NEVER, FlywheelError
from agentic_flywheel.errors.flow import FlowError
from agentic_flywheel.errors.given import InvalidQuery
from agentic_flywheel.errors.queue import DeadlineExceeded


@dataclass(eq=False)
class InputRequired(FlywheelError):
    """There is no answer yet: the flow has stopped and asks a person. The query goes on with the decision."""

    query_id: str
    #: The number of the stop.
    stop: int
    flow: str
    #: What is asked.
    asked: str
    #: The flow's words for each decision; empty where they are not known.
    choices: dict[str, str] = field(default_factory=dict)
    #: Whether the flow takes a text beside the decision.
    takes_feedback: bool = True
    #: The node that asks; None where it is not known.
    node: str | None = None
    #: When the query ends as expired, unless somebody has decided: ISO 8601.
    until: str = ""
    #: The part that asks, where the question was sent to several flows.
    part: str | None = None

    @property
    def advice(self) -> tuple[str, ...]:
        # A later stop has to be named, and one of several: see `producer.deciding`.
        which = f" --stop {self.stop}" if self.stop > 1 or self.part else ""
        return (
            f"Decide: `flywheel resume <query_id> --proceed{which}`, or with `reject` in place of `proceed`.",
            "See what else waits for a decision: `flywheel waiting`.",
            "Where nobody is to decide, `flywheel cancel <query_id>` ends it.",
        )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} has stopped and asks a person to decide (query {self.query_id}): {self.asked}"


@dataclass(eq=False)
class AlreadyDecided(FlywheelError):
    """Another decision was taken at this stop before, and that one counts."""

    query_id: str
    stop: int
    decision: str
    #: Whether only the feedback is another one.
    other_feedback: bool = False

    suggestions = (
        "Look at what came of it: `flywheel status <query_id>`.",
        "A decision cannot be taken back: where yours is wanted, ask the question again.",
        "Cancel the query if what it does is no longer wanted: `flywheel cancel <query_id>`.",
    )

    @property
    def message(self) -> str:
        what = f"{self.decision}, with another feedback" if self.other_feedback else self.decision
        return f"Stop {self.stop} of query {self.query_id} was decided before: {what}"


@dataclass(eq=False)
class InvalidDecision(InvalidQuery):
    """A decision is not acceptable; nothing was decided, and the query waits on."""

    suggestions = (
        "Correct what is named and decide again: nothing was decided, and the query waits on.",
        "See what the query asks, with the number of its stop: `flywheel waiting`.",
        "A decision is `proceed` or `reject`, with at most 8,000 characters of feedback.",
    )

    @property
    def message(self) -> str:
        return f"The decision was not accepted: {self.field_name}: {self.reason}"


@dataclass(eq=False)
class NobodyDecided(DeadlineExceeded):
    """The query's flow has asked a person, and nobody decided in time."""

    transient = False
    retry_hint = RETRY_NEVER
    suggestions = (
        "Ask the question again where it still counts: what the flow asked is over.",
        "Decide sooner: `flywheel waiting` lists what waits, and how long each has left.",
        "Give people more time: FLYWHEEL_PERSON_TIMEOUT on the workers, and no earlier deadline of the query's own.",
    )

    @property
    def message(self) -> str:
        return f"The flow of query {self.query_id} asked a person, and nobody decided in time"


@dataclass(eq=False)
class NothingToDecide(FlywheelError):
    """The query does not wait for a person."""

    query_id: str
    state: str

    suggestions = (
        "Look at where it is: `flywheel status <query_id>`.",
        "See which queries wait for a decision: `flywheel waiting`.",
        "Where a number of a stop was given, look whether it is one of those that the query waits at.",
    )

    @property
    def message(self) -> str:
        return f"Query {self.query_id} does not wait for this decision: it is {self.state}"


@dataclass(eq=False)
class DecisionNotTaken(FlywheelError):
    """Workers live, and the registry of none of them has what the query needs to go on. It waits on."""

    query_id: str
    stop: int
    flow: str
    #: The profile that it needs, too; empty for none.
    profile: str = ""

    suggestions = (
        "Put the flow, or the profile, back where the workers run and decide again: they read a changed file within a "
        "second.",
        "Where it was removed on purpose, `flywheel cancel <query_id>` ends the query, and its run in Flowise.",
        "See what else waits for a decision, and until when: `flywheel waiting`.",
    )

    @property
    def message(self) -> str:
        profile = f" with the profile {self.profile!r}" if self.profile else ""
        return (
            f"Nothing was decided at stop {self.stop} of query {self.query_id}: no living worker's registry has the "
            f"flow {self.flow!r}{profile} any more, so nobody could tell it the decision; the query waits on"
        )


@dataclass(eq=False)
class StoppedRunGone(FlowError):
    """The server that was to be told a decision does not know the run that asked for it."""

    reason: str = ""

    suggestions = (
        "Ask again: the decision reached nobody.",
        "Where the flow's `server` in the registry, or FLOWISE_BASE_URL, has changed meanwhile: before such a change, "
        "decide or cancel what `flywheel waiting` lists.",
        "Look in Flowise whether the flow, the chat or its execution was deleted there.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} was not told the decision: its server knows no run that asked: {self.reason}"


@dataclass(eq=False)
class EarlierTurnAsks(FlywheelError):
    """An earlier turn of the session waits for a person. What is asked after it would not know how that ends."""

    query_id: str

    suggestions = (
        "Decide first: `flywheel resume <query_id> --proceed`, or with `reject` in place of `proceed`.",
        "Cancel the query that waits: `flywheel cancel <query_id>`.",
        "Ask in another session, or in none.",
    )

    @property
    def message(self) -> str:
        return f"An earlier turn of this session, query {self.query_id}, waits for a person's decision"


@dataclass(eq=False)
class TooManyAsk(FlywheelError):
    """The flow has stopped to ask a person, and too many queries wait for a person already."""

    flow: str
    most: int

    transient = True
    retry_hint = 3600.0
    suggestions = (
        "Decide what waits: `flywheel waiting` lists it.",
        "Raise FLYWHEEL_PERSON_LIMIT on the workers.",
        "Shorten FLYWHEEL_PERSON_TIMEOUT, so that what nobody decides ends sooner.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} has stopped to ask a person, but {self.most} queries wait for one already"
