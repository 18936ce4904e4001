"""What every expected failure is, and the object that shows it."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields
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
