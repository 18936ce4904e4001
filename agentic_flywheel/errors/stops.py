"""Failures around flows that stop and ask a person."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class InputRequired(FlywheelError):
    """There is no answer yet: the flow has stopped and asks a person. The query goes on with the decision."""

    query_id: str
    #: The number of the stop.
    stop: int
    flow: str
    #: What is asked.
    asked: str

    suggestions = (
        "Decide: `flywheel resume <query_id> --proceed` or `--reject`, in MCP with `flowise_resume`; after the first "
        "stop with its number, `--stop`.",
        "See what else waits for a decision: `flywheel waiting`.",
        "Where nobody is to decide, `flywheel cancel <query_id>` ends it.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} has stopped and asks a person to decide (query {self.query_id}): {self.asked}"


@dataclass(eq=False)
class AlreadyDecided(FlywheelError):
    """Another decision was taken at this stop before, and the flow was told that one."""

    query_id: str
    stop: int
    decision: str

    suggestions = (
        "Look at what came of it: `flywheel status <query_id>`.",
        "Ask again where the other decision is wanted: a decision cannot be taken back.",
        "Cancel the query if what it does is no longer wanted: `flywheel cancel <query_id>`.",
    )

    @property
    def message(self) -> str:
        return f"At stop {self.stop} of query {self.query_id} it was decided before: {self.decision}"


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
class EarlierTurnAsks(FlywheelError):
    """An earlier turn of the session waits for a person. What is asked after it would not know how that ends."""

    query_id: str

    suggestions = (
        "Decide first: `flywheel resume <query_id> --proceed` or `--reject`, with the id of the query that waits.",
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
