"""The Celery app of a worker, with its tasks: classify a query, answer it, join its parts, carry on after its end."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.records import load_result
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.ids import QUERY_ID
from agentic_flywheel.stack import stack_settings
from workers.answering import answer_query
from workers.classification import classify_query, refuse_id
from workers.delivered import Delivered
from workers.engine import TaskEvents, configure, on_loop_shutdown, on_loop_start
from workers.engine.envelope import Whose
from workers.engine.newer import HEADER, NewerMessage
from workers.faults import survive
from workers.handing_on import hand_back
from workers.mending import mend
from workers.query_events import QueryEvents
from workers.queues import WorkerQueues
from workers.readiness import Readiness
from workers.reconciling import keep_reconciling
from workers.revoking import cancel_revoked
from workers.runtime import Runtime
from workers.synthesis import synthesize_query
from workers.wishes import Wishes, take_wishes

settings = stack_settings()
_runtime: Runtime | None = None


def _on_unreadable(whose: Whose, tag: str, reason: str) -> None:
    if _runtime is not None:
        _runtime.soon(mend(_runtime, whose, tag, reason))


def _on_newer(message: NewerMessage) -> None:
    if _runtime is not None:
        _runtime.soon(hand_back(_runtime, message))


def _on_revoked(names: Sequence[str]) -> set[str]:
    return set() if _runtime is None else cancel_revoked(_runtime, names)


#: Most tasks that a worker has in hand besides those whose flow it waits for. It needs some tens of them to be busy;
#: each further one has had its turn, and yet waits.
WORKED_ON = 300

app = Celery("flywheel")
configure(
    app,
    broker_url=settings.redis_url,
    key_prefix=settings.key_prefix,
    visibility_timeout=settings.visibility_timeout,
    grace=settings.finishing,
    on_unreadable=_on_unreadable,
    version=wire.VERSION,
    on_newer=_on_newer,
    on_revoked=_on_revoked,
    worked_on=WORKED_ON,
)
app.conf.update(
    task_default_queue=wire.CLASSIFY_QUEUE,
    # Tasks of other apps, which follow a query, go where Celery's workers read unless they are told otherwise.
    task_routes=({"flywheel.*": {"queue": wire.CLASSIFY_QUEUE}}, {"*": {"queue": "celery"}}),
    result_expires=int(settings.result_ttl.total_seconds()),
    # Queues are lists, and those of a new domain appear with its first query.
    task_create_missing_queues=True,
    timezone="UTC",
)

#: Set up by the command that starts the worker.
queues = WorkerQueues(app)
readiness = Readiness()
_events = TaskEvents()


@on_loop_start
async def _open() -> None:
    global _runtime
    _runtime = runtime = Runtime(settings, queues, readiness, QueryEvents(_events))
    await runtime.open(partial(keep_reconciling, runtime))


@on_loop_shutdown
async def _close() -> None:
    if _runtime is not None:
        await _runtime.close()


def _open_runtime() -> Runtime:
    assert _runtime is not None, "tasks run on the engine's loop only"
    return _runtime


_options: dict[str, Any] = {
    "bind": True,
    # Celery would give the tasks to every other app of this process, too.
    "shared": False,
    # Scripts write the records and results of queries. Celery's own results would only say that a step has ended.
    "ignore_result": True,
    "stores_result": False,
    "throws": (FlywheelError,),
    "reads_types": False,
    "honours_times": True,
    # A query takes several tasks: see `QueryEvents`.
    "tells_end": False,
    # Texts of users.
    "shows_data": False,
}


@app.task(name=wire.CLASSIFY, **_options)
async def classify(self: Any, *args: Any, **kwargs: Any) -> None:
    """Decide where a query goes: its JSON object, or only the question, or a query's fields by name."""
    given = args[0] if len(args) == 1 and not kwargs else kwargs.get("query", kwargs) if not args else list(args)
    request = self.request  # Celery looks for it each time
    query_id, wishes = request.id, Wishes()
    if QUERY_ID.fullmatch(query_id):
        wishes = take_wishes(request)
        work = classify_query(_open_runtime(), query_id, given, wishes, _version_in(request))
    else:
        work = refuse_id(_open_runtime(), query_id)
    delivered = _delivered(request, wire.CLASSIFY, query_id, args=[given], follows=wishes.follows)
    await _carry_out(delivered, work)


@app.task(name=wire.ANSWER, **_options)
async def answer(self: Any, query_id: str, query: dict[str, Any], flow: str, part: str) -> None:
    """Answer a query, or one part of it, by a flow."""
    args = [query_id, query, flow, part]
    delivered = _delivered(self.request, wire.ANSWER, query_id, args=args, flow=flow, part=part)
    version = delivered.version
    await _carry_out(delivered, answer_query(_open_runtime(), query_id, query, flow, part, version=version))


@app.task(name=wire.SYNTHESIZE, **_options)
async def synthesize(self: Any, query_id: str, query: dict[str, Any]) -> None:
    """Make one answer of a query's parts."""
    delivered = _delivered(self.request, wire.SYNTHESIZE, query_id, args=[query_id, query])
    await _carry_out(delivered, synthesize_query(_open_runtime(), query_id, query, delivered.version))


@app.task(name=wire.CONTINUE, **_options)
async def carry_on(self: Any, query_id: str) -> Any:
    """End as a query has ended, so that Celery goes on with what a plain client had linked to it."""
    try:
        result = await load_result(_open_runtime().batch, query_id)
    except BrokerUnavailable as away:
        raise Reject(away.message, requeue=True) from None
    if result is None:
        # The broker has lost the query's end with that of its file; the next end brings another such message.
        raise Ignore
    return result


def _delivered(
    request: Any,
    task: str,
    query_id: str,
    *,
    args: list[Any],
    flow: str = "",
    part: str = "",
    follows: Parcel | None = None,
) -> Delivered:
    queue = (request.delivery_info or {}).get("routing_key") or wire.CLASSIFY_QUEUE
    return Delivered(task, request.id, query_id, part, flow, args, queue, _version_in(request) or wire.VERSION, follows)


def _version_in(request: Any) -> int | None:
    """Return the version in a task's message; None where a plain Celery client has sent it."""
    version = request.get(HEADER)
    return version if type(version) is int else None


async def _carry_out(delivered: Delivered, work: Coroutine[Any, Any, FlywheelError | None]) -> None:
    """Have Celery log a failed query as a failed task; its outcome is written already."""
    error = await survive(_open_runtime(), delivered, work)
    if error is not None:
        raise error
