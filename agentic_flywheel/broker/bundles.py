"""Bundles: queries that were submitted together under one id, so that they can be followed and cancelled together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import read_stored, reading
from agentic_flywheel.errors import ErrorInfo, UnknownBatch
from agentic_flywheel.models import Model


class BundleItem(Model):
    """One question of a bundle. Either ``query_id`` is set, or ``error``: why the question was refused."""

    question: str
    query_id: str | None = None
    error: ErrorInfo | None = None


class Bundle(Model):
    """The questions that one asker submitted together, in their order."""

    batch_id: str
    owner: str
    user: str | None = None
    created: AwareDatetime
    items: tuple[BundleItem, ...]

    @property
    def query_ids(self) -> list[str]:
        return [item.query_id for item in self.items if item.query_id is not None]


async def save_bundle(
    batch: Batch, batch_id: str, asker: Asker, items: Sequence[BundleItem], *, ttl: timedelta
) -> Bundle:
    """Store a bundle for ``ttl``, which should be that of its queries' results. Raises BrokerUnavailable."""
    bundle = Bundle(
        batch_id=batch_id, owner=asker.owner, user=asker.user, created=datetime.now(UTC), items=tuple(items)
    )
    await batch.call("SET", wire.bundle_key(batch_id), bundle.model_dump_json(), "PX", int(ttl.total_seconds() * 1000))
    return bundle


async def load_bundle(batch: Batch, batch_id: str, *, asker: Asker) -> Bundle:
    """Return a bundle.

    Raises UnknownBatch where there is none, or where it is another asker's; RecordUnreadable, BrokerUnavailable.
    """
    with reading("batch", batch_id):
        stored = await batch.call("GET", wire.bundle_key(batch_id))
        bundle = read_stored(Bundle, stored) if stored else None
    if bundle is None or not asker.may_see(Asker(bundle.owner, bundle.user)):
        raise UnknownBatch(batch_id)
    return bundle
