"""The task messages that workers send each other, each with its queue."""

from __future__ import annotations

from agentic_flywheel.broker import parcels, wire
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.wire import QueryStage
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.models import Query


def classify_parcel(query_id: str, query: Query, written: str, version: int = wire.VERSION) -> Parcel:
    """Return the message for a query's first task. ``written`` is the query's JSON form."""
    queue = wire.banded(wire.CLASSIFY_QUEUE, query.priority)
    return parcels.task_parcel(
        wire.CLASSIFY, query_id, query_id, f"[{written}]", queue=queue, version=version, shown=shown(query)
    )


def answer_parcel(query_id: str, query: Query, flow: Flow, part: str = "", *, version: int) -> Parcel:
    """Return the message of the task that asks ``flow`` for a query's answer, or for one part of it.

    ``version``: that of the query's record.
    """
    own, key, asked = parcels.quoted(query_id), parcels.quoted(flow.key), parcels.quoted(part)
    return parcels.task_parcel(
        wire.ANSWER,
        f"{query_id}|{part}" if part else query_id,
        parcels.task_id_of(query_id, part),
        f"[{own},{query.written()},{key},{asked}]",
        queue=wire.banded(wire.domain_queue(flow.domain), query.priority),
        version=version,
        root_id=query_id if part else None,
        shown=shown(query, flow.key, flow.domain),
    )


def synthesis_parcel(query_id: str, query: Query, *, version: int) -> Parcel:
    """Return the message of the task that makes one answer of a query's parts."""
    return parcels.task_parcel(
        wire.SYNTHESIZE,
        query_id,
        query_id,
        f"[{parcels.quoted(query_id)},{query.written()}]",
        queue=wire.banded(wire.SYNTHESIS_QUEUE, query.priority),
        version=version,
        shown=shown(query),
    )


def parcel_of(
    catalog: Catalog, stage: str, query_id: str, query: Query, flow: str = "", part: str = "", *, version: int
) -> Parcel:
    """Return the message for the stage (a ``QueryStage``) at which an execution is.

    A flow that is not in the registry is asked for in the default flow's queue, whose workers hand it on.
    """
    match stage:
        case QueryStage.CLASSIFY:
            return classify_parcel(query_id, query, query.written(), version)
        case QueryStage.SYNTHESIZE:
            return synthesis_parcel(query_id, query, version=version)
        case _:
            known = catalog.flows.get(flow) or catalog.default.model_copy(update={"key": flow})
            return answer_parcel(query_id, query, known, part, version=version)


def shown(query: Query, *where: str) -> str:
    """Return what Flower displays in place of a task's arguments: ``where`` the question goes, and how long it is."""
    return f"({', '.join([*where, f'{len(query.question)} characters'])})"
