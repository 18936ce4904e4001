"""End a query, or a part of it, without calling a flow: a refusal, a clarification, a merged answer."""

from __future__ import annotations

import json
from typing import assert_never

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.declaration import UnexpectedReply
from agentic_flywheel.broker.executions import Execution, ExecutionEnd, without_flow
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.records import attempts_of
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Answer, Query
from workers.journal import TraceJournal
from workers.outcomes import celery_failure, failure, success
from workers.runtime import Runtime

#: Stand for queries of which no more than the id is known. No flow is ever asked for them: a worker that dies before it
#: has ended such a record leaves that to the next one.
NOBODY = "nobody"
UNREADABLE = Query(question="(not readable)", client=NOBODY)
INVALID = Query(question="(not a valid query)", client=NOBODY)


async def end_with_answer(
    runtime: Runtime, execution: Execution, answer: Answer, journal: TraceJournal, *, queue: str
) -> None:
    """End an execution with an answer for which no flow was called. Raises BrokerUnavailable."""
    await _end(runtime, execution, success(answer), journal, answer, None, queue)


async def end_with_error(
    runtime: Runtime,
    execution: Execution,
    query: Query,
    error: FlywheelError,
    journal: TraceJournal,
    *,
    attempts: int = 0,
    queue: str,
    asked: Execution | None = None,
) -> FlywheelError:
    """End an execution as failed and return the error. Raises BrokerUnavailable.

    ``attempts``: number of calls made; ``queue``: the base queue whose message is done. ``asked``: the execution that
    the dead letter names, where this one has no flow on which the failure is to be counted.
    """
    await _end(runtime, execution, failure(error, asked or execution, query, attempts), journal, None, error, queue)
    return error


async def end_without_flow(
    runtime: Runtime, query_id: str, part: str, query: Query, error: FlywheelError, *, missing: str = "", queue: str
) -> FlywheelError:
    """End what no flow can be asked for any more as failed, and return the error. Raises BrokerUnavailable.

    ``missing``: the flow that was to be asked, for the dead letter; ``queue``: the base queue whose message is done.
    """
    execution, journal = without_flow(query_id, part, missing=missing), TraceJournal(runtime, query_id, query, part)
    attempts = await attempts_of(runtime.batch, query_id, part)
    return await end_with_error(runtime, execution, query, error, journal, attempts=attempts, queue=queue)


async def _end(
    runtime: Runtime,
    execution: Execution,
    end: ExecutionEnd,
    journal: TraceJournal,
    answer: Answer | None,
    error: FlywheelError | None,
    queue: str,
) -> None:
    finished = await runtime.transitions.finish(execution, end, queue=queue)
    match finished:
        case scripts.FinishWon():
            journal.ended(True, finished.followers, execution, answer, error)
        case scripts.FinishGone():
            journal.ended(False, finished.followers, execution, answer, error)
        case scripts.FinishLate():
            raise UnexpectedReply("finish", finished, "there is no lease that another could have by now")
        case _:
            assert_never(finished)


async def record_unreadable(runtime: Runtime, query_id: str, parcel: Parcel, *, follows: Parcel | None = None) -> None:
    """Record a query that only its message knew, and of which no more than the id can be read.

    ``follows``: the message that carries on after its end. Raises BrokerUnavailable.
    """
    adopted = await runtime.transitions.adopt(query_id, UNREADABLE, parcel, follows=follows)
    match adopted:
        case scripts.AdoptAdopted() | scripts.AdoptExists() | scripts.AdoptLimited():
            return
        case scripts.AdoptWaits() | scripts.AdoptOver() | scripts.AdoptAsks():
            raise UnexpectedReply("adopt", adopted, "it has no session, no deadline and no time before which it waits")
        case _:
            assert_never(adopted)


async def store_failure(runtime: Runtime, task_id: str, error: FlywheelError) -> None:
    """Have a plain client's ``get()`` raise an error where no query can be recorded. Raises BrokerUnavailable."""
    meta = {"status": "FAILURE", "result": json.loads(celery_failure(error)), "traceback": None, "children": []}
    key, result = wire.result_key(task_id), json.dumps({**meta, "task_id": task_id})
    await runtime.batch.call("SET", key, result, "EX", int(runtime.settings.result_ttl.total_seconds()))
    await runtime.batch.call("PUBLISH", key, result)
