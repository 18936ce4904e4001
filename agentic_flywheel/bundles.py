"""Several queries under one handle: what was submitted together, so that it can be followed and cancelled together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import ErrorInfo, UnknownBatch
from agentic_flywheel.models import Model


class Item(Model):
    """One question of a bundle: the query that it became, or why it was refused."""

    question: str
    query_id: str | None = None
    error: ErrorInfo | None = None


class Bundle(Model):
    """Queries of one owner that were submitted together, in their order."""

    batch_id: str
    owner: str
    created: AwareDatetime
    items: tuple[Item, ...]

    @property
    def query_ids(self) -> list[str]:
        return [item.query_id for item in self.items if item.query_id is not None]


async def save_bundle(batch: Batch, batch_id: str, owner: str, items: Sequence[Item], *, ttl: timedelta) -> Bundle:
    """Keep a bundle for as long as its queries' results. Raises BrokerUnavailable."""
    bundle = Bundle(batch_id=batch_id, owner=owner, created=datetime.now(UTC), items=tuple(items))
    await batch.call("SET", wire.bundle_key(batch_id), bundle.model_dump_json(), "PX", int(ttl.total_seconds() * 1000))
    return bundle


async def load_bundle(batch: Batch, batch_id: str, *, owner: str) -> Bundle:
    """Return a bundle. Raises UnknownBatch, also where it is another owner's; BrokerUnavailable."""
    stored = await batch.call("GET", wire.bundle_key(batch_id))
    bundle = Bundle.model_validate_json(stored) if stored else None
    if bundle is None or bundle.owner != owner:
        raise UnknownBatch(batch_id)
    return bundle
