"""Records that are removed before they have ended, as by another program, fill no limit: not even until a repair."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.blobs import Blobs, blob_name
from agentic_flywheel.broker.messages import classify_parcel
from agentic_flywheel.broker.stops import Stops
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.errors import UploadsFull
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Query
from agentic_flywheel.settings import Settings
from agentic_flywheel.uploads import Upload
from protocol.test_stops import ASKED, FLOW, running

SHOP = Asker("shop")


async def submitted(batch: Batch, settings: Settings, *uploads: Upload, domain: str | None = None) -> object:
    query, query_id = Query(question="é" * 30_000, owner=SHOP.owner, uploads=uploads), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    transitions = Transitions(batch, settings)
    return await transitions.submit(query_id, query, query.written(), parcel, front="", domain=domain)


async def remove_records(client: Redis) -> None:
    await client.delete(*await client.keys(wire.record_key("*")))


LIMITS = {
    "an owner's queries": (Settings(owner_under_way=3), None, scripts.SubmitLimited),
    "an owner's bytes": (Settings(owner_bytes_under_way=2**18, owner_under_way=0), None, scripts.SubmitLimited),
    "the queue": (Settings(queue_limit=3, owner_under_way=0), None, scripts.SubmitFull),
    "a domain": (Settings(queue_limit=3, owner_under_way=0), "d", scripts.SubmitFull),
}


@pytest.mark.parametrize(("settings", "domain", "refused"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_removed_record_takes_nobodys_place(
    batch: Batch, redis_client: Redis, settings: Settings, domain: str | None, refused: type
) -> None:
    while isinstance(await submitted(batch, settings, domain=domain), scripts.SubmitAccepted):
        pass
    assert isinstance(await submitted(batch, settings, domain=domain), refused)
    await remove_records(redis_client)

    assert isinstance(await submitted(batch, settings, domain=domain), scripts.SubmitAccepted)
    # Those that are there count as before.
    while isinstance(await submitted(batch, settings, domain=domain), scripts.SubmitAccepted):
        pass
    assert isinstance(await submitted(batch, settings, domain=domain), refused)


async def test_a_removed_record_takes_no_place_among_those_that_wait_for_a_person(
    batch: Batch, redis_client: Redis
) -> None:
    settings = Settings(person_limit=1)
    transitions, stops = Transitions(batch, settings), Stops(batch, settings)
    for reply in (scripts.StopStopped, scripts.StopFull):
        execution, parcel = await running(transitions)
        assert isinstance(await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d"), reply)
    first = (await redis_client.zrange(wire.ASKED, 0, -1))[0]
    await redis_client.delete(wire.record_key(first))

    assert isinstance(await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d"), scripts.StopStopped)


async def test_the_files_of_removed_records_make_room(batch: Batch, redis_client: Redis) -> None:
    settings = Settings(uploads_bytes=3000)
    blobs = Blobs(batch, settings)
    first, unused, third = (Upload.of(bytes([number]) * 1000, f"{number}.txt") for number in range(3))
    await blobs.keep(SHOP, first)
    assert isinstance(await submitted(batch, settings, first), scripts.SubmitAccepted)
    await blobs.keep(SHOP, unused)
    with pytest.raises(UploadsFull):
        await blobs.keep(SHOP, third)
    await remove_records(redis_client)

    await blobs.keep(SHOP, third)

    assert not await redis_client.exists(wire.blob_key(blob_name(SHOP, first)))
    # A submission may be about to need it.
    assert await redis_client.exists(wire.blob_key(blob_name(SHOP, unused)))
