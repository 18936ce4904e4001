"""One line of ``results.jsonl``: an item, and what became of it in this replay.

``results.jsonl`` holds exactly one line for every item that has an outcome, in the order in which they ended. A line
is ``ItemResult`` as JSON; fields at their defaults are left out. A last line without its line end was cut off by a
crash and does not count.
"""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from agentic_flywheel.models import Model
from producer.replay.items import ReplayItem
from producer.replay.recorded import Recorded


class ItemResult(Model):
    """An item and its outcome."""

    item: ReplayItem
    #: Of the query that asked the question again; empty in a dry run.
    query_id: str = ""
    trace_id: str = ""
    #: The replay's own session that took the place of the item's.
    session_id: str | None = None
    outcome: Recorded
    #: When the item was submitted, and when its outcome was known here.
    started: AwareDatetime
    ended: AwareDatetime
    #: How often the item was submitted; more than once where the broker had lost it, or its query had ended unanswered.
    attempts: int = Field(1, ge=1)
    #: Calls of flows that it cost, of all its parts and attempts; 0 where the answer came from the cache.
    calls: int = Field(0, ge=0)

    def written(self) -> str:
        """Return the line, without its end."""
        return self.model_dump_json(exclude_defaults=True)
