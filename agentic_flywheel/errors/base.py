"""The base class of all expected failures, and the object in which an error is shown and stored."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.base import Model
from agentic_flywheel.errors.wording import Wording, worded
from agentic_flywheel.ids import QUERY_ID

#: Seconds after which a retry makes sense; 0: a retry without a change fails again.
RETRY_CONNECTION = 30.0
RETRY_TIMEOUT = 30.0
RETRY_RATE_LIMIT = 60.0
RETRY_UNAVAILABLE = 120.0
RETRY_NEVER = 0.0

#: Names that older versions gave to classes of errors. Records and events outlive an upgrade.
FORMER_NAMES = {"FlowiseUnreachable": "ServerUnreachable"}


def name_of_today(error_type: str) -> str:
    """Return the name that a class of errors has now."""
    return FORMER_NAMES.get(error_type, error_type)


def _with_id(suggestion: str, query_id: str | None) -> str:
    """Return a suggestion whose commands can be copied: with the query's id in them, where it is known and is one."""
    if query_id is None or not QUERY_ID.fullmatch(query_id):
        return suggestion
    return suggestion.replace("<query_id>", query_id)


class ErrorInfo(Model):
    """An error as an object: the same in the CLI, the producer, MCP results, records and dead letters."""

    model_config = ConfigDict(extra="ignore")

    error: str
    error_type: Annotated[str, AfterValidator(name_of_today)]
    details: dict[str, Any] = {}
    recovery_suggestions: tuple[str, ...] = ()
    #: Seconds after which a retry makes sense; 0: a retry without a change fails again.
    retry_after: float = 0.0
    query_id: str | None = None
    #: Random, twelve hex digits: finds the error in the logs.
    error_id: str = ""

    def worded(self, wording: Wording) -> Self:
        """Return the error with its suggestions in the words of where it is read."""
        return self.model_copy(update={"recovery_suggestions": worded(wording, self.recovery_suggestions)})


@dataclass(eq=False)
class FlywheelError(Exception):
    """Base of all expected failures. Raised as it is by nobody."""

    #: Whether the same attempt may succeed later.
    transient: ClassVar[bool] = False
    retry_hint: ClassVar[float] = RETRY_NEVER
    suggestions: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            # What another program said of a failure may repeat the address that it was given.
            if isinstance(value, str) and value != (cleaned := without_secrets(value)):
                setattr(self, each.name, cleaned)
        super().__init__(*(getattr(self, each.name) for each in fields(self) if not each.kw_only))

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What happened and why, in one sentence."""
        raise NotImplementedError

    @property
    def retry_after(self) -> float:
        """Seconds after which a retry makes sense; 0: a retry without a change fails again."""
        return self.retry_hint

    @property
    def advice(self) -> tuple[str, ...]:
        """At least three things to do next, the most likely first, as commands of the command line."""
        return self.suggestions

    @property
    def recovery_suggestions(self) -> tuple[str, ...]:
        """The same as calls of a ``producer``, where it can do them; with the query's id, where the error knows it."""
        query_id = getattr(self, "query_id", None)
        return worded(Wording.PYTHON, (_with_id(each, query_id) for each in self.advice))

    def describe(self, query_id: str | None = None) -> ErrorInfo:
        """Return the error as an object, as it is stored and told on the command line. Each call gives it a new
        ``error_id``."""
        details = asdict(self)
        whose = query_id or details.get("query_id") or None
        return ErrorInfo(
            error=self.message,
            error_type=type(self).__name__,
            details=details,
            recovery_suggestions=tuple(_with_id(each, whose) for each in self.advice),
            retry_after=self.retry_after,
            query_id=whose,
            error_id=uuid.uuid4().hex[:12],
        )
