"""Failures of what a caller or operator gave: a query, a name, a score, a setting, a registry, a library's version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from agentic_flywheel.cutting import cut_words
from agentic_flywheel.errors.base import FlywheelError

_FILES = "Which files a flow takes, how large and how many: docs/uploads.md, under Files."

#: Stands for the key where a fault is of a whole file.
WHOLE_FILE = "(file)"


def _at_line(key: str) -> str:
    """Return what to do first about a fault in a file of YAML."""
    return f"Open the file at the named line and correct {'it' if key == WHOLE_FILE else 'the key'}."


@dataclass(eq=False)
class InvalidQuery(FlywheelError):
    """A field of a query is not acceptable; nothing was submitted."""

    field_name: str
    reason: str

    suggestions = (
        "Correct the named field and submit again; nothing was queued.",
        "Leave the field out where it is not needed.",
        "See every field that there is: `flywheel ask --help`.",
    )
    #: What else is to be said of a field.
    of_field: ClassVar[dict[str, str]] = {
        "question": "A question has 1 to 32,000 characters, of which one can be seen.",
        "form": "The flow's fields are its `form` in the registry: docs/uploads.md, under Forms.",
        "uploads": _FILES,
        "files": _FILES,
        "config": "What a flow lets be overridden: `flywheel flows check`; `vars`: docs/uploads.md, under Variables.",
    }

    @property
    def advice(self) -> tuple[str, ...]:
        first, other, last = self.suggestions
        return (first, self.of_field.get(self.field_name.partition(".")[0], other), last)

    @property
    def message(self) -> str:
        return f"The query was not accepted: {self.field_name}: {self.reason}"


@dataclass(eq=False)
class UnknownFlow(FlywheelError):
    """The catalog has no such active flow."""

    flow: str
    known: list[str] = field(default_factory=list)
    #: Whether the registry has it, and says that it is not active.
    inactive: bool = False

    suggestions = (
        "Run `flywheel flows list` to see the flows there are.",
        "Leave the flow out and let the classification choose.",
        "Add the flow to the registry with `flywheel flows add`, or set its `active: true`; one that a webhook or a "
        "schedule starts takes no questions.",
    )

    @property
    def message(self) -> str:
        known = ", ".join(self.known) or "none"
        if self.inactive:
            return f"The flow {self.flow!r} is in the registry, but is not active there; active are: {known}"
        return f"There is no active flow {self.flow!r}; known: {known}"


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
    """There is no domain profile with this name that the caller may use."""

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
    """A domain profile's file is refused. If an earlier version of it is in use, that stays in use."""

    path: str
    line: int
    key: str
    reason: str
    #: What to do first where no line of the file is at fault: this user may not read it, for example.
    remedy: str = ""

    @property
    def fault(self) -> str:
        """What is wrong, and where."""
        if self.remedy:
            return f"{self.path} {self.reason}"
        return f"{self.path}:{self.line}: {self.key}: {self.reason}"

    @property
    def message(self) -> str:
        return f"The profile is not acceptable: {self.fault}"

    @property
    def advice(self) -> tuple[str, ...]:
        if self.remedy:
            other = "Or have another folder read: FLYWHEEL_PROFILES names it."
        else:
            other = "Compare with a fresh one: `flywheel profiles new NAME --template technical`."
        return (
            self.remedy or _at_line(self.key),
            "Run `flywheel profiles list` to see every file that is refused.",
            other,
        )


@dataclass(eq=False)
class UnknownQuery(FlywheelError):
    """The caller has no query with this id, or it has expired."""

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
    """The caller has no session with this id, or it has expired."""

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
    """A score's value, name or comment is not acceptable; nothing was stored."""

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
    """A flow registry is refused, or a change of one. If an earlier catalog is in use, that stays in use."""

    path: str
    line: int
    key: str
    reason: str
    #: What to do first where no line of the file is at fault: it cannot be read or written, or a change is refused.
    remedy: str = ""

    def __post_init__(self) -> None:
        self.key, self.reason = cut_words(self.key), cut_words(self.reason)
        super().__post_init__()

    @property
    def message(self) -> str:
        if self.remedy and self.key == WHOLE_FILE:
            return f"The registry {self.path} {self.reason}"
        if self.remedy:
            return f"The registry {self.path} stays as it is: {self.key}: {self.reason}"
        return f"The registry is not acceptable: {self.path}:{self.line}: {self.key}: {self.reason}"

    @property
    def advice(self) -> tuple[str, ...]:
        if self.remedy:
            return (
                self.remedy,
                "See which file is in force, and what is remarked on it: `flywheel flows check`.",
                "Or have another file read and written: FLYWHEEL_REGISTRY names it.",
            )
        return (
            _at_line(self.key),
            "Run `flywheel flows check` to see every complaint at once.",
            "Compare with the bundled registry: `flywheel flows show-bundled`.",
        )


@dataclass(eq=False)
class InvalidSetting(FlywheelError):
    """The value of an environment variable is not acceptable."""

    name: str
    reason: str

    suggestions = (
        "Correct it where it was given: in the environment, or as an option of the command.",
        "README.md, under Settings, has every variable, its unit and its default.",
        "Run `flywheel doctor` to see what is in force.",
    )

    @property
    def message(self) -> str:
        return f"The setting {self.name} is not acceptable: {self.reason}"


@dataclass(eq=False)
class CannotListen(InvalidSetting):
    """The address at which a program is to serve cannot be had."""

    suggestions = (
        "Choose another port; 0 takes a free one.",
        "See what listens there: `ss -ltnp`. A stack of `flywheel up` has a gateway of its own.",
        "Give an address of this machine as the host, or 0.0.0.0 for all of them.",
    )

    @property
    def message(self) -> str:
        return f"{self.name} cannot listen there: {self.reason}"
