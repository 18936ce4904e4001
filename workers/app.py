"""The Celery app that answers: three tasks, explicitly named, on plain Celery above the engine."""

from __future__ import annotations

from typing import Any

from celery import Celery

from agentic_flywheel import wire
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.settings import load_settings
from workers.answering import answer_query
from workers.classification import classify_query
from workers.engine import configure, on_loop_shutdown, on_loop_start
from workers.runtime import Runtime
from workers.synthesis import synthesize_query

settings = load_settings()

app = Celery("flywheel")
configure(
    app,
    engine=settings.engine,
    broker_url=settings.redis_url,
    visibility_timeout=settings.visibility_timeout,
    grace=settings.grace,
)
app.conf.update(
    task_default_queue=wire.CLASSIFY_QUEUE,
    result_expires=int(settings.result_ttl.total_seconds()),
    # Queues are lists, and those of a new domain appear with its first query.
    task_create_missing_queues=True,
    timezone="UTC",
)

_runtime: Runtime | None = None


@on_loop_start
async def _open() -> None:
    global _runtime
    _runtime = Runtime(settings)
    await _runtime.open()


@on_loop_shutdown
async def _close() -> None:
    if _runtime is not None:
        await _runtime.close()


def _open_runtime() -> Runtime:
    assert _runtime is not None, "tasks run on the engine's loop only"
    return _runtime


def _ended(error: FlywheelError | None) -> None:
    """Let Celery and Flower show a failed query as a failed task; its outcome is written already."""
    if error is not None:
        raise error


# The scripts write records and results; Celery's own would only say that a step was taken.
_options: dict[str, Any] = {"bind": True, "ignore_result": True, "throws": (FlywheelError,)}


@app.task(name=wire.CLASSIFY, **_options)
async def classify(self: Any, query: Any) -> None:
    """Decide where a query goes. ``query`` is its JSON object, or only the question."""
    _ended(await classify_query(_open_runtime(), self.request.id, query))


@app.task(name=wire.ANSWER, **_options)
async def answer(self: Any, query_id: str, query: dict[str, Any], flow: str, part: str) -> None:
    """Answer a query, or one part of it, by a flow."""
    _ended(await answer_query(_open_runtime(), query_id, query, flow, part))


@app.task(name=wire.SYNTHESIZE, **_options)
async def synthesize(self: Any, query_id: str, query: dict[str, Any]) -> None:
    """Put the parts of a query together."""
    _ended(await synthesize_query(_open_runtime(), query_id, query))
