"""The tree of expected failures: each says what happened, why, what to do next and when to retry.

Every class is a dataclass whose fields are its constructor's arguments and its ``args``, so an error survives
serialisation: ``rebuild(error.describe())`` gives the same error in another process.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

#: Retry hints in seconds; 0 means: do not retry, change something first.
RETRY_CONNECTION = 30.0
RETRY_TIMEOUT = 30.0
RETRY_RATE_LIMIT = 60.0
RETRY_UNAVAILABLE = 120.0
RETRY_NEVER = 0.0


class ErrorInfo(BaseModel):
    """The error object that CLI, producer, MCP results and dead letters all show."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str
    error_type: str
    details: dict[str, Any] = {}
    recovery_suggestions: tuple[str, ...] = ()
    #: Seconds until a retry makes sense; 0: do not retry unchanged.
    retry_after: float = 0.0
    query_id: str | None = None
    error_id: str = ""


@dataclass(eq=False)
class FlywheelError(Exception):
    """Base of all expected failures."""

    #: Whether trying the same again later can help.
    transient: ClassVar[bool] = False
    retry_hint: ClassVar[float] = RETRY_NEVER
    suggestions: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__init__(*(getattr(self, each.name) for each in fields(self)))

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What happened and why, in one sentence."""
        raise NotImplementedError

    @property
    def retry_after(self) -> float:
        """Seconds until a retry makes sense; 0 where it does not."""
        return self.retry_hint

    @property
    def recovery_suggestions(self) -> tuple[str, ...]:
        """At least three things that can be done next."""
        return self.suggestions

    def describe(self, query_id: str | None = None) -> ErrorInfo:
        """Return the error object, with a fresh ``error_id`` to find it in the logs."""
        details = asdict(self)
        return ErrorInfo(
            error=self.message,
            error_type=type(self).__name__,
            details=details,
            recovery_suggestions=self.recovery_suggestions,
            retry_after=self.retry_after,
            query_id=query_id or details.get("query_id"),
            error_id=uuid.uuid4().hex[:12],
        )


def rebuild(info: ErrorInfo) -> FlywheelError:
    """Return the error that ``info`` describes; an unknown class becomes a ``QueryFailed`` with the same text."""
    known = _by_name(FlywheelError).get(info.error_type)
    if known is not None:
        names = {each.name for each in fields(known)}
        try:
            return known(**{name: value for name, value in info.details.items() if name in names})
        except TypeError:
            pass
    return QueryFailed(info.query_id or "", info.error_type, info.error)


def _by_name(base: type[FlywheelError]) -> dict[str, type[FlywheelError]]:
    found = {base.__name__: base}
    for sub in base.__subclasses__():
        found |= _by_name(sub)
    return found


# What the caller gave


@dataclass(eq=False)
class InvalidQuery(FlywheelError):
    """A field of a query is not acceptable; nothing was submitted."""

    field_name: str
    reason: str

    suggestions = (
        "Correct the named field and submit again; nothing was queued.",
        "A question has 1 to 32,000 characters; priorities are high, normal, low.",
        "See `flywheel ask --help` or the docstring of `agentic_flywheel.models.Query` for every field.",
    )

    @property
    def message(self) -> str:
        return f"The query was not accepted: {self.field_name}: {self.reason}"


@dataclass(eq=False)
class UnknownFlow(FlywheelError):
    """The catalog has no such active flow."""

    flow: str
    known: list[str] = field(default_factory=list)

    suggestions = (
        "Run `flywheel flows list` to see the flows there are.",
        "Leave the flow out and let the classification choose.",
        "Add the flow to the registry with `flywheel flows add`, or set its `active: true`.",
    )

    @property
    def message(self) -> str:
        return f"There is no active flow {self.flow!r}; known: {', '.join(self.known) or 'none'}"


@dataclass(eq=False)
class UnknownDomain(FlywheelError):
    """No active flow belongs to this domain."""

    domain: str
    known: list[str] = field(default_factory=list)

    suggestions = (
        "Run `flywheel flows list` to see the domains there are.",
        "Leave the domain out and let the classification choose.",
        "Give a flow of the registry this `domain`.",
    )

    @property
    def message(self) -> str:
        return f"There is no domain {self.domain!r}; known: {', '.join(self.known) or 'none'}"


@dataclass(eq=False)
class UnknownProfile(FlywheelError):
    """No domain profile of this name is readable by the caller."""

    profile: str
    known: list[str] = field(default_factory=list)

    suggestions = (
        "Run `flywheel profiles list` to see the profiles there are.",
        "Make one with `flywheel profiles new`.",
        "Leave the profile out.",
    )

    @property
    def message(self) -> str:
        return f"There is no profile {self.profile!r} for you; known: {', '.join(self.known) or 'none'}"


@dataclass(eq=False)
class InvalidProfile(FlywheelError):
    """A domain profile's file is refused; one that was in force stays."""

    path: str
    line: int
    key: str
    reason: str

    suggestions = (
        "Open the file at the named line and correct the key.",
        "Run `flywheel profiles list` to see every file that is refused.",
        "Compare with a fresh one: `flywheel profiles new NAME --template technical`.",
    )

    @property
    def message(self) -> str:
        return f"The profile is not acceptable: {self.path}:{self.line}: {self.key}: {self.reason}"


@dataclass(eq=False)
class UnknownQuery(FlywheelError):
    """No query of this id belongs to the caller, or it has expired."""

    query_id: str

    suggestions = (
        "Check the id: it is the one that `submit` returned, 32 hexadecimal digits.",
        "Records expire (FLYWHEEL_RESULT_TTL, one day unless set): ask again.",
        "Ask as the same owner who submitted it; one owner cannot see another's queries.",
    )

    @property
    def message(self) -> str:
        return f"There is no query {self.query_id!r} of yours"


@dataclass(eq=False)
class UnknownSession(FlywheelError):
    """No session of this id belongs to the caller, or it has expired."""

    session_id: str

    suggestions = (
        "Run `flywheel sessions list` to see your sessions.",
        "Sessions expire (FLYWHEEL_SESSION_TTL): start a new one by asking with a new session id.",
        "Ask as the same owner who began it; sessions belong to their owner.",
    )

    @property
    def message(self) -> str:
        return f"There is no session {self.session_id!r} of yours"


@dataclass(eq=False)
class InvalidScore(FlywheelError):
    """A score has an unusable value, name or comment; nothing was kept."""

    field_name: str
    reason: str

    suggestions = (
        "Give a number from 1 to 10, true or false, or one word such as `helpful`.",
        "Put everything longer than a word into the comment, up to 2,000 characters.",
        "Keep the name short: letters, digits, dot, dash; without one it is `rating`.",
    )

    @property
    def message(self) -> str:
        return f"The score was not accepted: {self.field_name}: {self.reason}"


@dataclass(eq=False)
class InvalidRegistry(FlywheelError):
    """A flow registry is refused; the catalog that runs stays."""

    path: str
    line: int
    key: str
    reason: str

    suggestions = (
        "Open the file at the named line and correct the key.",
        "Run `flywheel flows check` to see every complaint at once.",
        "Compare with the bundled registry: `flywheel flows show-bundled`.",
    )

    @property
    def message(self) -> str:
        return f"The registry is not acceptable: {self.path}:{self.line}: {self.key}: {self.reason}"


@dataclass(eq=False)
class InvalidSetting(FlywheelError):
    """An environment variable has an unusable value."""

    name: str
    reason: str

    suggestions = (
        "Correct or unset the environment variable.",
        "The README's configuration table gives every variable, its unit and its default.",
        "Run `flywheel doctor` to see what is in force.",
    )

    @property
    def message(self) -> str:
        return f"The setting {self.name} is not acceptable: {self.reason}"


@dataclass(eq=False)
class EngineUnsupported(FlywheelError):
    """The engine does not know this version of a library whose inside it uses."""

    found: str
    needed: str

    suggestions = (
        "Install the pinned versions: `python3 run.py doctor` does it from constraints.txt.",
        "Set FLYWHEEL_ENGINE=stock to run on Celery's own threads pool and transport.",
        "Upgrade Agentic Flywheel to a release that knows the newer version.",
    )

    @property
    def message(self) -> str:
        return f"The asyncio engine was built for {self.needed}, but {self.found} is installed"


# The broker and the queue


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


# The flow and its server


@dataclass(eq=False)
class FlowError(FlywheelError):
    """A call of a flow failed. Base of all failures at the Flowise edge."""

    flow: str

    suggestions = (
        "Look at the flow in Flowise and run it there once.",
        "Run `flywheel flows check` to test the flow's id, key and server.",
        "Give the flow a `fallback` in the registry.",
    )


@dataclass(eq=False)
class FlowiseUnreachable(FlowError):
    """No connection to the Flowise server, or it broke before the answer was whole."""

    reason: str = ""
    #: Whether the request may have reached the flow; if not, repeating it costs nothing.
    sent: bool = True

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Check that Flowise runs and FLOWISE_BASE_URL names it: `flywheel doctor`.",
        "Look at Flowise's own log for a crash or restart.",
        "Without FLOWISE_BASE_URL, `flywheel up` starts a sandbox that answers in its place.",
    )

    @property
    def message(self) -> str:
        return f"Flowise could not be reached for flow {self.flow!r}: {self.reason}"


@dataclass(eq=False)
class FlowTimeout(FlowError):
    """The flow did not answer, or fell silent, for longer than allowed."""

    seconds: float = 0.0

    transient = True
    retry_hint = RETRY_TIMEOUT
    suggestions = (
        "Raise the flow's `timeout` in the registry if it is known to be slow.",
        "Look at Flowise: a flow that hangs there hangs here.",
        "Ask a shorter question, or split it.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} gave no sign for {self.seconds:g} s"


@dataclass(eq=False)
class FlowRateLimited(FlowError):
    """Flowise answered 429: the flow's own rate limit is reached."""

    seconds: float = RETRY_RATE_LIMIT

    transient = True
    suggestions = (
        "Wait for `retry_after` seconds; workers do so by themselves.",
        "Set the flow's `rate` in the registry to what Flowise allows.",
        "Raise the limit in the flow's configuration in Flowise.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} is rate limited; it asks to wait {self.seconds:g} s"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class ProviderUnavailable(FlowError):
    """The LLM provider behind the flow is overloaded or down."""

    reason: str = ""

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Wait: Flowise has already retried several times, so the provider needs minutes.",
        "Check the provider's status page and your quota.",
        "Give the flow a `fallback` that uses another provider.",
    )

    @property
    def message(self) -> str:
        return f"The provider behind flow {self.flow!r} is unavailable: {self.reason}"


@dataclass(eq=False)
class CircuitOpen(FlowError):
    """The flow failed so often that it is not called for a while."""

    seconds: float = RETRY_UNAVAILABLE

    transient = True
    suggestions = (
        "Wait: after `retry_after` seconds one query probes the flow.",
        "Look at `flywheel health` for the error that opened the circuit.",
        "Give the flow a `fallback` in the registry.",
    )

    @property
    def message(self) -> str:
        return f"The circuit of flow {self.flow!r} is open; it is probed again in {self.seconds:g} s"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class FlowUnauthorized(FlowError):
    """Flowise, or the provider behind it, refused the key."""

    reason: str = ""

    suggestions = (
        "Set FLOWISE_API_KEY, or the variable that the flow's `api_key_env` names, to a key of this flow.",
        "Check in Flowise which key the flow is bound to.",
        "If the reason speaks of the provider, correct the credential inside the flow.",
    )

    @property
    def message(self) -> str:
        return f"The key for flow {self.flow!r} was refused: {self.reason}"


@dataclass(eq=False)
class FlowNotFound(FlowError):
    """Flowise has no flow of this id."""

    flow_id: str = ""

    suggestions = (
        "Compare the registry's `id` with the flow's address in Flowise.",
        "Run `flywheel flows check` to test every flow of the registry.",
        "Set `active: false` for a flow that was deleted.",
    )

    @property
    def message(self) -> str:
        return f"Flowise has no flow of the id {self.flow_id!r} (flow {self.flow!r})"


@dataclass(eq=False)
class FlowRefused(FlowError):
    """Flowise did not accept the request: malformed, too large or otherwise invalid."""

    reason: str = ""

    suggestions = (
        "Check the query's config override, history and form for wrong types.",
        "A request has at most 50 MB; send large documents to the flow's own store.",
        "Run `flywheel flows check` to test the flow's id.",
    )

    @property
    def message(self) -> str:
        return f"Flowise refused the request to flow {self.flow!r}: {self.reason}"


@dataclass(eq=False)
class FlowFailed(FlowError):
    """The flow itself raised; it will do so again until somebody changes it."""

    reason: str = ""

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} failed: {self.reason}"


@dataclass(eq=False)
class FlowProtocolError(FlowError):
    """The server's answer is not Flowise's protocol, such as an HTML page."""

    reason: str = ""

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Check that FLOWISE_BASE_URL names Flowise itself, not a proxy's or a login page.",
        "Check the Flowise version: 3.1 is what this was built for.",
        "Look at the server's answer with `flywheel flows check`.",
    )

    @property
    def message(self) -> str:
        return f"The answer for flow {self.flow!r} is not Flowise's protocol: {self.reason}"


# The stack on this machine


@dataclass(eq=False)
class StackRunning(FlywheelError):
    """A stack of this home runs already, or is just stopping."""

    home: str
    #: Its broker's address; empty while it starts or stops.
    address: str = ""

    transient = True
    retry_hint = 5.0
    suggestions = (
        "Use the one that runs: commands such as `flywheel ask` find it by themselves.",
        "Stop it with Ctrl-C where it was started, then try again.",
        "Run a second one beside it with another FLYWHEEL_HOME.",
    )

    @property
    def message(self) -> str:
        doing = f"is running: its broker is {self.address}" if self.address else "is starting or stopping"
        return f"A stack with its state in {self.home} {doing}"


@dataclass(eq=False)
class ServiceFailed(FlywheelError):
    """A process of the stack did not come up."""

    service: str
    reason: str
    log: str

    suggestions = (
        "Read the named log: its last lines say why.",
        "Run `flywheel doctor`, which checks every dependency.",
        "Check that the port is free and that the disk has room.",
    )

    @property
    def message(self) -> str:
        return f"The {self.service} did not start: {self.reason}; its log is {self.log}"


# The MCP bridge


@dataclass(eq=False)
class CallFailed(FlywheelError):
    """A tool ran into a fault of ours; what it was is in the bridge's log only."""

    tool: str

    suggestions = (
        "Try once more: the fault may have been a passing one.",
        "Find the `error_id` in the log of the MCP bridge (its stderr) and report it.",
        "Do the same on the command line meanwhile: `flywheel --help`.",
    )

    @property
    def message(self) -> str:
        return f"The tool {self.tool} failed through a fault of the bridge itself"


@dataclass(eq=False)
class TooManyCalls(FlywheelError):
    """A token's rate of calls is used up."""

    owner: str
    rate: float
    seconds: float

    transient = True
    suggestions = (
        "Call again after `retry_after` seconds.",
        "Ask many questions in one call: `flowise_batch`; wait with `wait_s` instead of polling often.",
        "Raise FLYWHEEL_MCP_RATE where the bridge is started.",
    )

    @property
    def message(self) -> str:
        return f"{self.owner} calls more than {self.rate:g} times a second"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class ChangesRefused(FlywheelError):
    """This bridge was started without the right to change what all share."""

    what: str

    suggestions = (
        "Start the bridge without --read-only; over HTTP with --allow-changes.",
        "Do it on the command line: `flywheel flows add`, `flywheel cache clear`.",
        "Override for your own session instead: `flowise_configure` with a session_id.",
    )

    @property
    def message(self) -> str:
        return f"{self.what} changes what all share, which this bridge may not"


@dataclass(eq=False)
class ClientConfigRefused(FlywheelError):
    """An MCP client's configuration file cannot be merged; it is left as it was."""

    path: str
    reason: str

    suggestions = (
        "Add the entry by hand: the same command with --dry-run prints it.",
        "Correct the file, or remove the comments in it, and run the command again.",
        "Move the file away and run the command again: a new one is written.",
    )

    @property
    def message(self) -> str:
        return f"The client's configuration {self.path} was left as it is: {self.reason}"


@dataclass(eq=False)
class UnknownBatch(FlywheelError):
    """No batch of this id belongs to the caller, or it has expired."""

    batch_id: str

    suggestions = (
        "Check the id: it is the `batch_id` that was returned when the batch was submitted.",
        "Batches expire with their queries (FLYWHEEL_RESULT_TTL, one day unless set): ask again.",
        "Ask as the same owner who submitted it; one owner cannot see another's queries.",
    )

    @property
    def message(self) -> str:
        return f"There is no batch {self.batch_id!r} of yours"


@dataclass(eq=False)
class UnusableSource(FlywheelError):
    """The questions of a replay cannot be read; nothing was asked."""

    source: str
    reason: str

    suggestions = (
        "Check its name: a .jsonl or .csv file, a replay's folder, records, dead-letters, dataset:NAME or traces.",
        "Correct the lines that are named; without --strict faulty lines are reported and left out.",
        "See docs/replay.md for the fields of a line.",
    )

    @property
    def message(self) -> str:
        return f"The questions of {self.source} cannot be replayed: {self.reason}"


@dataclass(eq=False)
class UnusableReplay(FlywheelError):
    """A replay's folder cannot be used."""

    folder: str
    reason: str

    suggestions = (
        "Continue a replay that was interrupted: `flywheel replay --resume DIR`.",
        "Begin a new one in another folder: `--out DIR`.",
        "Look whether another `flywheel replay` works on the same folder.",
    )

    @property
    def message(self) -> str:
        return f"The replay folder {self.folder} cannot be used: {self.reason}"


@dataclass(eq=False)
class InvalidEvaluator(FlywheelError):
    """An evaluator cannot be used as it was given; nothing was judged."""

    evaluator: str
    reason: str

    suggestions = (
        "Give NAME, NAME:ARGUMENT or LABEL=NAME:ARGUMENT, such as exact, contains:refund, valid=json-schema:FILE.",
        "Built in are exact, contains, regex, similarity, json-schema and judge (a flow that judges).",
        "One of your own is an entry point of the group `agentic_flywheel.evaluators`: see docs/replay.md.",
    )

    @property
    def message(self) -> str:
        return f"The evaluator {self.evaluator!r} cannot be used: {self.reason}"


@dataclass(eq=False)
class InvalidGate(FlywheelError):
    """A condition of a gate cannot be read; nothing was judged."""

    condition: str
    reason: str

    suggestions = (
        'Give conditions such as "route_changes<=2%, errors<=0.5%, similarity>=0.85, p95_ratio<=1.2".',
        "See docs/replay.md for every figure that a gate may name.",
        "Quote the whole gate, or the shell takes `<` and `>` for itself.",
    )

    @property
    def message(self) -> str:
        return f"The gate's condition {self.condition!r} cannot be read: {self.reason}"


@dataclass(eq=False)
class ResultsUnreadable(FlywheelError):
    """A replay's results cannot be compared."""

    path: str
    reason: str

    suggestions = (
        "Give the folder of a replay (`--out`), or its results.jsonl.",
        "Finish the replay first: `flywheel replay --resume`.",
        "Results of an older version cannot be read: replay the source again.",
    )

    @property
    def message(self) -> str:
        return f"The results in {self.path} cannot be read: {self.reason}"


@dataclass(eq=False)
class RecordingMissing(FlywheelError):
    """A cassette holds no answer for this request, and plays back only."""

    cassette: str
    request: str
    nearest: str = ""

    suggestions = (
        "Record it: run the test with --cassettes=record and FLOWISE_BASE_URL set.",
        "With --cassettes=new only what is missing is recorded.",
        "If the request differs from run to run, make it the same: a fixed session id, no time of day.",
    )

    @property
    def message(self) -> str:
        near = f"; the nearest recorded request is {self.nearest}" if self.nearest else ""
        return f"The cassette {self.cassette} has no recording of {self.request}{near}"


@dataclass(eq=False)
class ExperimentRefused(FlywheelError):
    """Langfuse did not take a replay as an experiment; the replay and its report are as they were."""

    run: str
    reason: str

    suggestions = (
        "Check LANGFUSE_BASE_URL and the keys with `flywheel doctor`.",
        "Run `flywheel replay report DIR --experiment NAME` again: what was sent already stays one experiment.",
        "Look at report.html meanwhile: it holds the same comparison.",
    )

    @property
    def message(self) -> str:
        return f"Langfuse did not take the experiment {self.run!r}: {self.reason}"
