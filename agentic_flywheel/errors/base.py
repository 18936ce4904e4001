"""The base class of all expected failures, and the object in which an error is shown and stored."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from agentic_flywheel.addresses import without_secrets

#: Seconds after which a retry makes sense; 0: a retry without a change fails again.
RETRY_CONNECTION = 30.0
RETRY_TIMEOUT = 30.0
RETRY_RATE_LIMIT = 60.0
RETRY_UNAVAILABLE = 120.0
RETRY_NEVER = 0.0

#: Names that older versions gave to classes of errors. Records and events outlive an upgrade.
FORMER_NAMES = {"ServerUnreachable": "ServerUnreachable"}


def name_of_today(error_type: str) -> str:
    """Return the name that a class of errors has now."""
    return FORMER_NAMES.get(error_type, error_type)


class ErrorInfo(BaseModel):
    """An error as an object: the same in the CLI, the producer, MCP results, records and dead letters."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str
    error_type: Annotated[str, AfterValidator(name_of_today)]
    details: dict[str, Any] = {}
    recovery_suggestions: tuple[str, ...] = ()
    #: Seconds after which a retry makes sense; 0: a retry without a change fails again.
    retry_after: float = 0.0
    query_id: str | None = None
    #: Random, twelve hex digits: finds the error in the logs.
    error_id: str = ""


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
    def recovery_suggestions(self) -> tuple[str, ...]:
        """At least three things that the reader can do next, the most likely first."""
        return self.suggestions

    def describe(self, query_id: str | None = None) -> ErrorInfo:
        """Return the error as an object. Each call gives it a new ``error_id``."""
        details = asdict(self)
        return ErrorInfo(
            error=self.message,
            error_type=type(self).__name__,
            details=details,
            recovery_suggestions=self.recovery_suggestions,
            retry_after=self.retry_after,
            query_id=query_id or details.get("query_id") or None,
            error_id=uuid.uuid4().hex[:12],
        )
