"""What does not run on this machine: a stack, a process of it, or the workers' engine; and its first question."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError
from agentic_flywheel.errors.queue import WaitTimeout
from agentic_flywheel.installation import install_command, pip_command


@dataclass(eq=False)
class StackRunning(FlywheelError):
    """A stack with this home folder is running already, or is stopping."""

    home: str
    #: Address of that stack's broker; empty while it starts or stops.
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
    """A process of the stack did not start."""

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


@dataclass(eq=False)
class EngineUnsupported(FlywheelError):
    """The workers' engine was not checked with an installed library whose private parts it uses."""

    #: What is installed, such as ``celery 5.7.1``.
    found: str
    #: What the engine was checked with, as requirements: ``celery==5.7.0``, ``redis==8.1.*``.
    needed: list[str]

    @property
    def message(self) -> str:
        return f"The engine was checked with {', '.join(self.needed)}, but installed is {self.found}"

    @property
    def advice(self) -> tuple[str, ...]:
        requirements = " ".join(f"'{each}'" for each in self.needed)
        return (
            f"Install what it was checked with: `{pip_command()} {requirements}`.",
            "Install Agentic Flywheel into an environment of its own, with `-c constraints.txt` of its repository.",
            "Upgrade Agentic Flywheel: a later release may have been checked with the newer version.",
        )


@dataclass(eq=False)
class BrokerTooOld(FlywheelError):
    """The broker's server lacks commands that the workers use."""

    found: str
    needed: str

    suggestions = (
        "Upgrade the server; its data stay as they are.",
        "Set REDIS_URL to a server that is new enough: Redis 7, or any Valkey.",
        "Without REDIS_URL, `flywheel up` starts a Valkey of its own.",
    )

    @property
    def message(self) -> str:
        return f"The broker is {self.found}; the workers need {self.needed}"


@dataclass(eq=False)
class BrokerRightsMissing(FlywheelError):
    """The broker's user lacks rights that our processes need; nothing was started."""

    address: str
    #: The rules that it lacks, as `ACL SETUSER` takes them.
    rules: list[str]

    @property
    def message(self) -> str:
        return f"The broker at {self.address} gives its user too few rights: it lacks {' '.join(self.rules)}"

    @property
    def advice(self) -> tuple[str, ...]:
        return (
            f"Give it what it lacks: `ACL SETUSER name {' '.join(self.rules)}`, then `ACL SAVE`.",
            "docs/redis.md has the whole rule for such a user.",
            "Run `flywheel doctor` afterwards: it looks again.",
        )


@dataclass(eq=False)
class PackageMissing(FlywheelError):
    """Something needs a package of an extra that is not installed; nothing was done."""

    package: str
    extra: str
    #: What needs it, as the subject of a sentence.
    what: str
    #: What can be done without it.
    instead: str = ""

    @property
    def message(self) -> str:
        return f"{self.what} needs the package {self.package}, and it is not installed"

    @property
    def advice(self) -> tuple[str, ...]:
        return (
            f"Install it with its extra: {install_command(self.extra)}",
            f"Or install everything: {install_command('all')}",
            self.instead or "Run `flywheel doctor`: it lists what is installed.",
        )


@dataclass(eq=False)
class NoFirstAnswer(WaitTimeout):
    """The first question of ``flywheel init`` had no answer in time, so it was cancelled. What was set up stands."""

    #: The flow that was asked; empty where no worker has asked one.
    flow: str = ""

    transient = False
    retry_hint = 0.0
    suggestions = (
        "Ask the flow in Flowise's own chat: where it is silent there too, its model is slow or away.",
        "Give a slow flow more time with `timeout` in the registry, then run `flywheel up` and `flywheel ask`.",
        "See what each flow's server says: `flywheel flows check`.",
    )

    @property
    def message(self) -> str:
        silent = f"The flow {self.flow} gave no answer" if self.flow else "No worker asked a flow"
        cancelled = f"the first question (query {self.query_id}) is cancelled"
        return f"{silent} within {self.waited:g} s: {cancelled}, and the registry stays as it is"
