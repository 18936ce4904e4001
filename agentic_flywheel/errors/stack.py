"""The stack on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


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
