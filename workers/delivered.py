"""A task as it was delivered, with all that is needed to send it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentic_flywheel.broker import parcels


@dataclass(frozen=True)
class Delivered:
    """A delivered task, with all that is needed to send it again."""

    task: str
    task_id: str
    query_id: str
    part: str
    flow: str
    args: Sequence[Any]
    queue: str
    #: The version in its message; that of this worker where a plain Celery client has sent it.
    version: int
    #: The message that carries on after the query's end.
    follows: parcels.Parcel | None = None

    def parcel(self, shown: str = "again") -> parcels.Parcel:
        """Return a new message with the same task. ``shown``: what Flower displays in place of its arguments."""
        name = f"{self.query_id}|{self.part}" if self.part else self.query_id
        return parcels.task_parcel(
            self.task,
            name,
            self.task_id,
            json.dumps(self.args, ensure_ascii=False),
            queue=self.queue,
            version=self.version,
            root_id=self.query_id if self.part else None,
            shown=f"({shown})",
        )
