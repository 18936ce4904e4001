"""Failures of the broker and the queue, and the ways in which a query ends without an answer."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import RETRY_CONNECTION, RETRY_TIMEOUT, FlywheelError


@dataclass(eq=False)
class BrokerUnavailable(FlywheelError):
    """Redis cannot be reached, gives no answer, or refuses for a while.

    Whether the call was carried out is not known: the broker may have taken it before the connection was lost. So it
    does not mean that nothing was accepted.
    """

    address: str
    reason: str

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Start the stack with `flywheel up`, or your own Redis or Valkey.",
        "Check REDIS_URL and that the port is reachable: `flywheel doctor`.",
        "Repeat a submission with the same idempotency key, or a decision as it was: either counts once.",
    )

    @property
    def message(self) -> str:
        return f"The broker at {self.address} gave no answer: {self.reason}"


@dataclass(eq=False)
class BrokerRefused(FlywheelError):
    """Redis refuses what we ask of it until a person changes something.

    Nothing was done, but where an answer came that cannot be read: it is not Redis's (the code is UNREADABLE), or not
    UTF-8 (UNDECODABLE).
    """

    address: str
    code: str
    reason: str

    suggestions = (
        "Do what the reason says, then try again; workers go on by themselves.",
        "Run `flywheel doctor`: it checks address, password, rights and settings of the broker.",
        "Look into the broker's own log at this moment.",
    )

    @property
    def message(self) -> str:
        return f"The broker at {self.address} refuses the call ({self.code}): {self.reason}"


@dataclass(eq=False)
class QueryLost(FlywheelError):
    """The broker accepted this query, was away, and does not know it any more: it came back with an older state.

    After a power loss a server reads what its disk holds; docs/engine.md says how many seconds that may lack. A worker
    that had the query in hand may still answer it.
    """

    query_id: str

    retry_hint = 1.0
    suggestions = (
        "Ask again. With the idempotency key of the first submission it is accepted once.",
        "Run `flywheel doctor`: it says how many seconds this broker may lose when it fails.",
        "Where no second may be lost: CONFIG SET appendfsync always.",
    )

    @property
    def message(self) -> str:
        return f"The broker has lost query {self.query_id}: it came back with an older state"


@dataclass(eq=False)
class QueryRemoved(FlywheelError):
    """Somebody waited for this query, and its record was removed meanwhile; the broker was there all the time.

    A record is removed by `flywheel forget`, by whoever deletes keys of the broker, or FLYWHEEL_RESULT_TTL after the
    query's end, where the waiting process stood still for so long.
    """

    query_id: str

    suggestions = (
        "Ask again: nothing of the query is known any more, nor whether it was answered.",
        "Find out who removed it: `flywheel forget`, or another program that deletes keys of this broker.",
        "Where the waiting process stood still for long, raise FLYWHEEL_RESULT_TTL: an answer is kept so long.",
    )

    @property
    def message(self) -> str:
        return f"Query {self.query_id} was removed from the broker while its answer was waited for"


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
        "Look at `flywheel health` for a paused or failing flow, or raise FLYWHEEL_QUEUE_LIMIT.",
    )

    @property
    def message(self) -> str:
        return f"The queue {self.queue} holds {self.length} queries and takes no more now"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class DeadlineExceeded(FlywheelError):
    """The query's deadline passed before it was answered."""

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
    """The caller stopped waiting before the answer came. The query itself goes on."""

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
    """The query failed with an error for which this version has no class."""

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
class ExecutionLost(FlywheelError):
    """Nothing moved the query any more, and its message could not be made anew."""

    query_id: str
    reason: str

    suggestions = (
        "Ask again with `flywheel dead-letters retry <query_id>`.",
        "Find the query's id in the workers' logs: they say what ended before.",
        "Run `flywheel doctor` and `flywheel audit`: they look for what loses messages.",
    )

    @property
    def message(self) -> str:
        return f"Query {self.query_id} was lost on its way and is given up: {self.reason}"


@dataclass(eq=False)
class FlowNotServed(FlywheelError):
    """No living worker's registry has what the query asks for; it has waited for one that has."""

    #: ``flow``, ``domain`` or ``intent``, and its name.
    kind: str
    name: str
    seconds: float

    suggestions = (
        "Put it into the registry of the workers: they read a changed file within a second.",
        "Ask again with `flywheel dead-letters retry <query_id>` once they have it.",
        "Where it was removed on purpose, ask without it: the classification then chooses among the flows there are.",
    )

    @property
    def message(self) -> str:
        return f"For {self.seconds:g} s no living worker's registry had the {self.kind} {self.name!r}"


@dataclass(eq=False)
class ProfileNotServed(FlywheelError):
    """No living worker could use the profile that the query names; it has waited for one that can."""

    profile: str
    seconds: float
    #: What the worker says that had it last.
    reason: str

    suggestions = (
        "Put the profile's file into the profiles folder of every worker: they read a changed file within a second.",
        "Run `flywheel profiles list` where the workers run: it shows every file that is refused, and why.",
        "Ask again with `flywheel dead-letters retry <query_id>` once they have it, or ask without the profile.",
    )

    @property
    def message(self) -> str:
        return f"For {self.seconds:g} s no living worker could use the profile {self.profile!r}: {self.reason}"


@dataclass(eq=False)
class VersionNotServed(FlywheelError):
    """The query was recorded by a later version than that of every living worker; it has waited for one."""

    version: int
    latest: int
    seconds: float

    suggestions = (
        "Start a worker of that version, then ask again with `flywheel dead-letters retry <query_id>`.",
        "Before workers are rolled back, roll the producers back and wait until `flywheel audit` counts no open query "
        "of the later version.",
        "When a fleet is brought up to date, begin with the workers; docs/engine.md, Versions, says how.",
    )

    @property
    def message(self) -> str:
        return (
            f"The query is of version {self.version}, and for {self.seconds:g} s no worker lived "
            f"that knows more than version {self.latest}"
        )


@dataclass(eq=False)
class UnreadableQuery(FlywheelError):
    """The task message of the query cannot be read, and nobody else has what it said."""

    query_id: str
    reason: str

    suggestions = (
        "Send the query again, as JSON, with another task id.",
        "Compare what was sent with `docs/celery.md`: it says which serializers and compressions are read.",
        "The message itself is kept in the list `flywheel:unreadable` of the broker.",
    )

    @property
    def message(self) -> str:
        return f"The message of query {self.query_id} cannot be read: {self.reason}"


@dataclass(eq=False)
class UnexpectedFault(FlywheelError):
    """A fault of ours, or of something below us, that no error class describes."""

    query_id: str
    cause: str
    fault_id: str

    suggestions = (
        "Find the fault's id in the workers' logs: the traceback stands beside it.",
        "Report it with that traceback; the question is not needed.",
        "Ask again with `flywheel dead-letters retry <query_id>` once the cause is mended.",
    )

    @property
    def message(self) -> str:
        return f"Query {self.query_id} met an unexpected fault several times ({self.cause}, {self.fault_id} in the log)"


@dataclass(eq=False)
class UnknownDeadLetter(FlywheelError):
    """There is no dead letter with this id."""

    query_id: str

    suggestions = (
        "Run `flywheel dead-letters list` to see those there are.",
        "Dead letters expire (FLYWHEEL_DEAD_LETTER_TTL): submit the question again.",
        "A redriven dead letter leaves the list: look at `flywheel status <query_id>`.",
    )

    @property
    def message(self) -> str:
        return f"There is no dead letter {self.query_id!r}"
