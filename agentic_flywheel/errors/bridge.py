"""Failures of the MCP bridge."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class CallFailed(FlywheelError):
    """A tool failed because of a fault in our code. The bridge's log has the details; the client is not told them."""

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
    """A client made more calls a second than its token allows."""

    owner: str
    rate: float
    seconds: float

    transient = True
    suggestions = (
        "Call again after `retry_after` seconds.",
        "Ask many questions in one call: `flowise_batch`; wait with `wait_s` instead of polling often.",
        "Raise FLYWHEEL_MCP_RATE (FLYWHEEL_HTTP_RATE for the gateway's other paths) where it is started.",
    )

    @property
    def message(self) -> str:
        return f"{self.owner} calls more than {self.rate:g} times a second"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class TooManyOpen(FlywheelError):
    """A client has more requests, streams or subscriptions open than its token or its session allows."""

    owner: str
    what: str
    most: int

    transient = True
    retry_hint = 1.0
    suggestions = (
        "Close streams and subscriptions that are not needed, then call again.",
        "Follow several resources and tasks on one stream.",
        "Raise FLYWHEEL_MCP_OPEN (FLYWHEEL_HTTP_OPEN for the gateway's other paths) where it is started.",
    )

    @property
    def message(self) -> str:
        return f"Too many {self.what}: {self.owner} has {self.most} open"


@dataclass(eq=False)
class ChangesRefused(FlywheelError):
    """The tool changes something that all users share, and this bridge was started without the right to do so."""

    what: str

    suggestions = (
        "Start the bridge with --allow-changes.",
        "Do it on the command line: `flywheel flows add`, `flywheel cache clear`.",
        "Override for your own session instead: `flowise_configure` with a session_id.",
    )

    @property
    def message(self) -> str:
        return f"{self.what} changes what all share, which this bridge may not"


@dataclass(eq=False)
class ClientConfigRefused(FlywheelError):
    """Our entry cannot be added to an MCP client's configuration file. The file was not changed."""

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
    """The caller has no batch with this id, or it has expired."""

    batch_id: str

    suggestions = (
        "Check the id: it is the `batch_id` that was returned when the batch was submitted.",
        "Batches expire with their queries (FLYWHEEL_RESULT_TTL, one day unless set): ask again.",
        "Ask as the same owner who submitted it; one owner cannot see another's queries.",
    )

    @property
    def message(self) -> str:
        return f"There is no batch {self.batch_id!r} of yours"
