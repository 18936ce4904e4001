"""The broker and the queue."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import RETRY_CONNECTION, RETRY_TIMEOUT, FlywheelError


@dataclass(eq=False)
class BrokerUnavailable(FlywheelError):
    """Redis cannot be reached or refuses to write; nothing was accepted."""

    address: str
    reason: str

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Start the stack with `flywheel up`, or your own Redis or Valkey.",
        "Check REDIS_URL and that the port is reachable: `flywheel doctor`.",
        "If the reason speaks of memory, free some or raise maxmemory; nothing accepted is lost.",
    )

    @property
    def message(self) -> str:
        return f"The broker at {self.address} did not take the call: {self.reason}"


@dataclass(eq=False)
class QueueFull(FlywheelError):
    """A queue is at its limit; the query was not accepted."""

    queue: str
    length: int
    seconds: float

    transient = True
    suggestions = (
        "Submit again after `retry_after` seconds: it is computed from the rate at which the queue drains.",
        "Start more workers for the domain: `flywheel up --workers N`.",
        "Raise FLYWHEEL_QUEUE_LIMIT, or look at `flywheel status` for a paused or failing flow.",
    )

    @property
    def message(self) -> str:
        return f"The queue {self.queue} holds {self.length} queries and takes no more now"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class DeadlineExceeded(FlywheelError):
    """The query's deadline passed before its answer was there."""

    query_id: str
    stage: str = "waiting"

    transient = True
    retry_hint = RETRY_TIMEOUT
    suggestions = (
        "Ask again with a later deadline, or with none.",
        "Look at `flywheel health`: the flow may be slow or its queue long.",
        "Submit instead of asking, and poll for the answer later.",
    )

    @property
    def message(self) -> str:
        return f"The deadline of query {self.query_id} passed while {self.stage}"


@dataclass(eq=False)
class WaitTimeout(FlywheelError):
    """The caller's wait ended before the answer came; the query itself goes on."""

    query_id: str
    waited: float

    transient = True
    retry_hint = 1.0
    suggestions = (
        "Wait again: `flywheel wait <query_id>`; the query is still under way.",
        "Watch it: `flywheel stream <query_id>`.",
        "Cancel it if the answer is no longer wanted: `flywheel cancel <query_id>`.",
    )

    @property
    def message(self) -> str:
        return f"No answer to query {self.query_id} within {self.waited:g} s; it is still under way"


@dataclass(eq=False)
class QueryCancelled(FlywheelError):
    """The query was cancelled by its owner."""

    query_id: str
    reason: str = "asked by its owner"

    suggestions = (
        "Submit the question again if the answer is wanted after all.",
        "Look at `flywheel status <query_id>` for who cancelled it and when.",
        "Cancelling a session cancels every query in it; use another session id.",
    )

    @property
    def message(self) -> str:
        return f"The query {self.query_id} was cancelled: {self.reason}"


@dataclass(eq=False)
class QueryFailed(FlywheelError):
    """A failure that this version has no class for."""

    query_id: str
    cause: str
    reason: str

    suggestions = (
        "Look at `flywheel status <query_id>` for the whole error.",
        "Find the `error_id` in the worker's log.",
        "Redrive it with `flywheel dead-letters retry <query_id>` once the cause is mended.",
    )

    @property
    def message(self) -> str:
        return f"The query failed: {self.cause}: {self.reason}"


@dataclass(eq=False)
class UnknownDeadLetter(FlywheelError):
    """No dead letter of this id is kept."""

    query_id: str

    suggestions = (
        "Run `flywheel dead-letters list` to see those there are.",
        "Dead letters expire (FLYWHEEL_DEAD_LETTER_TTL): submit the question again.",
        "A redriven dead letter leaves the list: look at `flywheel status <query_id>`.",
    )

    @property
    def message(self) -> str:
        return f"There is no dead letter {self.query_id!r}"
