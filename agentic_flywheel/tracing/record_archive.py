"""Make a coarse trace from a query's record, where there is no trace or no longer one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import load_record, recent_queries
from agentic_flywheel.broker.scores import Score
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Record
from agentic_flywheel.tracing.archive import Wish, latest, nanoseconds
from agentic_flywheel.tracing.observation import Observation
from agentic_flywheel.tracing.root import root_of

#: Most queries of an asker that a search reads.
MAX_LOOKED_AT = 500


class RecordArchive:
    """Makes traces of a few steps from records, which are kept as long as results."""

    name = "the record"

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    async def trace(self, query_id: str) -> tuple[list[Observation], list[Score]]:
        try:
            return course_of(await load_record(self._batch, query_id), now=time.time_ns()), []
        except UnknownQuery:
            return [], []

    async def search(self, wish: Wish) -> list[Observation]:
        if wish.asker is None:
            return []
        found: Sequence[Record] = await recent_queries(self._batch, wish.asker, limit=MAX_LOOKED_AT)
        roots = [root_of(record) for record in found]
        return latest([root for root in roots if wish.admits(root)], wish.limit)


def course_of(record: Record, *, now: int) -> list[Observation]:
    """Return the root and the steps that a record's times show. Steps under way end at ``now``, in nanoseconds."""
    root = root_of(record)
    if record.finished is None:
        root = root._replace(end=max(now, root.start), level=None, message=f"under way: {record.state}")
    end = datetime.fromtimestamp(root.end / 1e9, UTC)
    times = [
        ("queue-wait", wire.CLASSIFY_QUEUE, record.created, record.routed),
        ("queue-wait", wire.domain_queue(record.domain), record.routed, record.started),
        ("flow-execution", record.flow, record.started, record.finished or end),
    ]
    return [
        root,
        *(
            Observation(
                record.query_id,
                name,
                "generation" if name == "flow-execution" else "span",
                nanoseconds(start),
                max(nanoseconds(start), nanoseconds(stop)),
                metadata={"flow" if name == "flow-execution" else "queue": where},
            )
            for name, where, start, stop in times
            if start is not None and stop is not None
        ),
    ]
