"""Check on a running stack that every open execution has a mover that a living worker acts on: nothing is lost.

This is another way than the workers' own reconciliation: it believes no note of where an execution should be, reads
every place in which one can be, and keeps nothing. It may take minutes on a long queue, and disturbs nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from redis.exceptions import RedisError, ResponseError

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch, error_of
from agentic_flywheel.broker.key_types import Client
from agentic_flywheel.broker.repair import repair
from agentic_flywheel.broker.sightings import Look, connect, last_events, look_around
from agentic_flywheel.broker.verdicts import Offender, Suspicion, judge, overdue, version_in
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model
from agentic_flywheel.settings import Settings

#: An offender has to be one, unmoved, so many times ...
LOOKS = 3
#: ... with so long in between.
PAUSE = timedelta(seconds=1)


class Audited(Model):
    """What an audit found."""

    #: Queries that were open at the last look.
    open: int
    #: The same by the version of their records.
    versions: dict[int, int] = {}
    offenders: tuple[Offender, ...]
    #: Those of them that were put right.
    repaired: tuple[Offender, ...] = ()

    @property
    def left(self) -> tuple[Offender, ...]:
        """The offenders that are still there."""
        return tuple(each for each in self.offenders if each not in self.repaired)


async def audit(
    settings: Settings,
    *,
    mend: Catalog | None = None,
    read: Collection[str] = (),
    pause: timedelta = PAUSE,
) -> Audited:
    """Return every offender. Raises BrokerUnavailable, BrokerRefused.

    ``mend``: the registry by which to put right what can be put right. ``read``: queues that count as read although no
    living worker says so. What an audit leaves is noted in the broker for the metrics.
    """
    client: Client = connect(settings.redis_url, prefix=settings.key_prefix)
    try:
        seen, suspicions = await _look_repeatedly(client, read, settings.visibility_timeout, pause)
        repaired = await repair(Batch(client), mend, suspicions) if mend and suspicions else []
        result = Audited(
            open=sum(map(seen.open, seen.records)),
            versions=dict(Counter(version_in(each) for query_id, each in seen.records.items() if seen.open(query_id))),
            offenders=tuple(each.offender for each in suspicions),
            repaired=tuple(each.offender for each in repaired),
        )
        with suppress(ResponseError):  # a server that is full, or a replica, keeps no note; what was found is told
            await client.hset(
                wire.AUDITED, mapping={"at": seen.now, "offenders": len(result.left), "open": result.open}
            )
        return result
    except (RedisError, OSError) as failure:
        raise error_of(settings.broker_address, failure) from None
    finally:
        await client.aclose()


async def _look_repeatedly(
    client: Client, read: Collection[str], visibility: timedelta, pause: timedelta
) -> tuple[Look, list[Suspicion]]:
    """Return the last look, and what was suspicious in every one without having moved in between."""
    first: Look | None = None
    suspicions: dict[tuple[str, str], tuple[Suspicion, str]] = {}
    for number in range(LOOKS):
        if number:
            await asyncio.sleep(pause.total_seconds())
        seen = await look_around(client)
        seen.read.update(read)
        found = {each.key: each for each in judge(seen, visibility=visibility)}
        if number:
            found = {key: each for key, each in found.items() if key in suspicions}
        # The events of a fan-out are of any of its parts.
        asked = {each.step.query_id for each in found.values() if each.step and not each.step.part}
        events = await last_events(client, sorted(asked))
        told = {
            key: (each, events.get(each.step.query_id, "") if each.step and not each.step.part else "")
            for key, each in found.items()
        }
        suspicions = {
            key: (each, event)
            for key, (each, event) in told.items()
            if not number or (each.unmoved, event) == (suspicions[key][0].unmoved, suspicions[key][1])
        }
        first = first or seen
        if not suspicions and not seen.due:
            break
    return seen, [each for each, _ in suspicions.values()] + overdue(first or seen, seen)
