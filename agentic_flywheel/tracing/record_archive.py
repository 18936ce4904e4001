"""What a query's own record tells of its course, where there is no trace of it (any more)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Record
from agentic_flywheel.records import load_record, recent_queries
from agentic_flywheel.scores import Score
from agentic_flywheel.tracing.archive import Wish, latest, nanoseconds
from agentic_flywheel.tracing.observation import Observation
from agentic_flywheel.tracing.root import root_of

#: An owner's queries are looked through so far back.
MAX_LOOKED_AT = 500


class RecordArchive:
    """Makes the broad steps of a trace from records: they live as long as results do."""

    name = "the record"

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    async def trace(self, query_id: str) -> tuple[list[Observation], list[Score]]:
        try:
            return course_of(await load_record(self._batch, query_id), now=time.time_ns()), []
        except UnknownQuery:
            return [], []

    async def search(self, wish: Wish) -> list[Observation]:
        if wish.owner is None:
            return []
        found: Sequence[Record] = await recent_queries(self._batch, wish.owner, limit=MAX_LOOKED_AT)
        roots = [root_of(record) for record in found]
        return latest([root for root in roots if wish.admits(root)], wish.limit)


def course_of(record: Record, *, now: int) -> list[Observation]:
    """Return the root of a record's query and the steps that its times tell. ``now`` ends what is under way."""
    root = root_of(record)
    if record.finished is None:
        root = root._replace(end=max(now, root.start), level=None, message=f"under way: {record.state}")
    end = datetime.fromtimestamp(root.end / 1e9, UTC)
    times = [
        ("queue-wait", "classify", record.created, record.routed),
        ("queue-wait", f"domain.{record.domain}", record.routed, record.started),
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
