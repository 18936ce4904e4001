"""Lists that are read in pages: an asker's queries, and the workers that live."""

from __future__ import annotations

from typing import NamedTuple

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch


class ListPlace(NamedTuple):
    """Where a page of queries ended: the time of its last query (milliseconds since 1970), and its id."""

    at: int
    query_id: str


async def ids_before(batch: Batch, asker: Asker, place: ListPlace | None, *, limit: int) -> list[ListPlace]:
    """Return an asker's queries from behind a place, the newest first, ``limit`` at most. Raises BrokerUnavailable."""
    highest = "+inf" if place is None else str(place.at)
    # Queries of one millisecond stand in the order of their ids, the greatest first; those that were seen are left out.
    found: list[ListPlace] = []
    offset = 0
    while len(found) < limit:
        flat = await batch.call(
            "ZREVRANGEBYSCORE", wire.owned_key(asker.name), highest, "-inf", "WITHSCORES", "LIMIT", offset, limit
        )
        entries = flat if flat and isinstance(flat[0], list | tuple) else list(zip(flat[::2], flat[1::2], strict=True))
        places = [ListPlace(int(float(score)), query_id) for query_id, score in entries]
        found += [each for each in places if place is None or (each.at, each.query_id) < place]
        if len(places) < limit:
            break
        offset += limit
    return found[:limit]


async def living_workers(batch: Batch) -> list[str]:
    """Return the names of the workers that live. Raises BrokerUnavailable."""
    names = sorted(await batch.call("SMEMBERS", wire.WORKERS))
    return [name for name in names if await batch.call("EXISTS", wire.alive_key(name))]


async def known_names(batch: Batch, kind: str) -> set[str] | None:
    """Return the names of a kind, such as ``profile``, that living workers have; None where none has said what it has.

    Of a profile for some owners only, the name is ``NAME of OWNER``. Raises BrokerUnavailable.
    """
    said = [await batch.call("SMEMBERS", wire.knows_key(worker)) for worker in await living_workers(batch)]
    if not any(said):
        return None
    begin = f"{kind} "
    return {name.removeprefix(begin) for names in said for name in names if name.startswith(begin)}
