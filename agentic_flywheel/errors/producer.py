"""What a program does with a producer, or with its keys, and what cannot work."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class IdempotencyConflict(FlywheelError):
    """The key stands for another question already; nothing was accepted."""

    key: str
    #: The query that was accepted under the key.
    query_id: str

    suggestions = (
        "Use a new key for a new question: one key stands for one submission and its repetitions.",
        "Repeat the first submission with exactly its fields; only `deadline`, `timeout` and `client` may differ.",
        "Look at what was accepted under the key: `flywheel status <query_id>`.",
    )

    @property
    def message(self) -> str:
        return (
            f"The idempotency key {self.key!r} was used for other content: it stands for query {self.query_id}, "
            "so this question was not accepted"
        )


@dataclass(eq=False)
class ProducerClosed(FlywheelError):
    """The producer was closed, before the call or while it ran. A query that was submitted goes on."""

    suggestions = (
        "Make the calls inside the `with` block, or before `close()`.",
        "Make a new producer: `with Producer() as producer: ...`.",
        "Find the answers of queries that were submitted before: `flywheel status` lists them.",
    )

    @property
    def message(self) -> str:
        return "The producer is closed, so it can neither send nor wait any more"


@dataclass(eq=False)
class LoopInUse(FlywheelError):
    """An AsyncProducer belongs to the event loop that uses it; another loop runs while that one does."""

    suggestions = (
        "Make one AsyncProducer for each event loop.",
        "Use `Producer` instead: any thread may call it.",
        "Send the call to the producer's own loop: `asyncio.run_coroutine_threadsafe`.",
    )

    @property
    def message(self) -> str:
        return "This AsyncProducer is in use on another event loop that still runs"


@dataclass(eq=False)
class GreenThreads(FlywheelError):
    """A library has replaced Python's threads or selectors, and `Producer` needs real ones for its event loop."""

    library: str

    suggestions = (
        "Run this program with real threads or processes: gunicorn's `gthread` or `sync` workers, Celery's `prefork`.",
        "Ask from a program that patches nothing: a process of its own, or the bridge (`flywheel mcp`).",
        "Look who replaces them: an option such as `-k gevent`, or `monkey.patch_all()` in a program's first lines.",
    )

    @property
    def message(self) -> str:
        return f"Producer cannot run here: {self.library} has replaced Python's threads or selectors by green ones"
