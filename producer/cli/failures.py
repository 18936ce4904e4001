"""Which exit code an error stands for."""

from __future__ import annotations

from agentic_flywheel.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    FlywheelError,
    InvalidEvaluator,
    InvalidGate,
    InvalidProfile,
    InvalidQuery,
    InvalidRegistry,
    InvalidScore,
    InvalidSetting,
    QueryCancelled,
    QueueFull,
    ResultsUnreadable,
    ServiceFailed,
    StackRunning,
    UnknownDeadLetter,
    UnknownDomain,
    UnknownFlow,
    UnknownProfile,
    UnknownQuery,
    UnknownSession,
    UnusableReplay,
    UnusableSource,
    WaitTimeout,
)
from producer.cli.exits import Exit

_EXITS: dict[Exit, tuple[type[FlywheelError], ...]] = {
    Exit.UNUSABLE: (
        InvalidEvaluator,
        InvalidGate,
        InvalidProfile,
        InvalidQuery,
        InvalidRegistry,
        InvalidScore,
        InvalidSetting,
        ResultsUnreadable,
        UnknownDeadLetter,
        UnknownDomain,
        UnknownFlow,
        UnknownProfile,
        UnknownQuery,
        UnknownSession,
        UnusableReplay,
        UnusableSource,
    ),
    Exit.UNAVAILABLE: (BrokerUnavailable, QueueFull, ServiceFailed, StackRunning),
    Exit.TIMED_OUT: (WaitTimeout,),
    Exit.CANCELLED: (QueryCancelled, DeadlineExceeded),
}


def exit_of(error: FlywheelError) -> Exit:
    """Return the exit code for an error; one that no other code is for has failed."""
    return next((code for code, kinds in _EXITS.items() if isinstance(error, kinds)), Exit.FAILED)
