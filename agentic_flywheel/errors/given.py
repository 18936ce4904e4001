"""What a caller gave and we cannot accept: a query, a name, a setting, a registry."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentic_flywheel.errors.base import FlywheelError


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
