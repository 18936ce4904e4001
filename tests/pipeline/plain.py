"""A plain Celery client, which knows of this project no more than the broker's address and a task's name."""

from __future__ import annotations

import uuid
from typing import Any

from celery import Celery, Signature
from celery.result import AsyncResult
from processes import wait_for

from pipeline.house import House

CLASSIFY = "flywheel.classify"


def asked(question: str = "How do I connect python to a database?") -> str:
    return f"{question} {uuid.uuid4().hex[:8]}"


class PlainClient:
    """Sends queries as tasks, and looks at what became of them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.app = Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False)

    def send(self, *args: Any, **options: Any) -> AsyncResult:
        """Send a query's task with these arguments; options are those of ``send_task``."""
        return self.app.send_task(CLASSIFY, args, **{"queue": "classify", **options})

    def query(self, query: Any, **options: Any) -> Signature:
        """Return a query as a part of a chain or chord."""
        return self.app.signature(CLASSIFY, args=[query], queue="classify", **options)

    def theirs(self, task: str, *args: Any, **options: Any) -> Signature:
        """Return a task of the user's own app."""
        return self.app.signature(f"their.{task}", args=args, **options)

    def record(self, query_id: str) -> dict[str, str]:
        found: dict[str, str] = self.house.client.hgetall(f"flywheel:query:{query_id}")  # type: ignore[assignment]
        return found

    def notes(self, place: str, number: int = 1, *, within: float = 20) -> list[str]:
        """Return what tasks of the user's own have noted, once there are so many."""
        key = f"theirs:{place}"
        wait_for(lambda: self.house.client.xlen(key) >= number, within=within, what=f"{number} notes of {place}")
        found: Any = self.house.client.xrange(key)
        return [fields["said"] for _, fields in found]
