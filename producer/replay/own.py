"""Questions from our own broker: the records of queries that have ended, and dead letters. Read page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import DeadLetter, readable_records
from agentic_flywheel.broker.scores import RATING, Score, scores_of
from agentic_flywheel.broker.stored import passing_over, read_stored, reading
from agentic_flywheel.models import Query, Record, State
from producer.replay import outcomes
from producer.replay.items import ReplayItem
from producer.replay.moves import Conversations
from producer.replay.recorded import Recorded
from producer.replay.wanted import Wanted

#: What replays ask under, so that it is told from what people ask; and what asks dead letters again for them.
CLIENT, RETRY_CLIENT = "replay", "retry"
_PAGE = 200


async def read_records(
    batch: Batch, wanted: Wanted, conversations: Conversations | None = None
) -> AsyncIterator[ReplayItem]:
    """Yield the queries that are wanted, each with its outcome; those of an owner in the order they were asked.

    ``conversations``: gives those of a session what was said in it before. What replays asked is left out, and what
    was asked under a confidential profile. Raises BrokerUnavailable.
    """
    number = 0
    for owner in await _owners(batch):
        async for query_ids in _pages(batch, wire.owned_key(owner), wanted):
            found = [record for record in await readable_records(batch, query_ids) if record is not None]
            records = [each for each in found if _replayable(each) and wanted.admits_record(each)]
            scores = await scores_of(batch, [record.query_id for record in records])
            for record in records:
                rating = _rating(scores[record.query_id])
                if wanted.admits_rating(rating):
                    number += 1
                    item = _of_record(number, record, rating)
                    said = await conversations.before(record) if conversations else ()
                    yield item.model_copy(update={"history": said}) if said else item


async def read_letters(batch: Batch, wanted: Wanted) -> AsyncIterator[ReplayItem]:
    """Yield the dead letters that are wanted, each asked again as the same user. Raises BrokerUnavailable."""
    number = 0
    async for letter in letters(batch, wanted):
        number += 1
        yield _of_letter(number, letter)


async def letters(batch: Batch, wanted: Wanted, *, newest_first: bool = False) -> AsyncGenerator[DeadLetter, None]:
    """Yield the dead letters that are wanted, in the order they came or the other way. Raises BrokerUnavailable."""
    async for query_ids in _pages(batch, wire.DEAD_LETTERS, wanted, newest_first=newest_first):
        stored = await batch.call("MGET", *map(wire.letter_key, query_ids))
        for query_id, written in zip(query_ids, stored, strict=True):
            if written is None:
                continue
            # Whoever names one is told of it; among all, one must not hide the others.
            with (reading if query_id in wanted.query_ids else passing_over)("dead letter", query_id):
                letter = read_stored(DeadLetter, written)
                if wanted.admits_letter(letter):
                    yield letter


async def _owners(batch: Batch) -> list[str]:
    found: set[str] = set()
    cursor = "0"
    while True:
        cursor, keys = await batch.call("SCAN", cursor, "MATCH", wire.owned_key("*"), "COUNT", 1000)
        found.update(key.removeprefix(wire.owned_key("")) for key in keys)
        # A user's queries are among the owner's.
        found = {name for name in found if " " not in name}
        if str(cursor) == "0":
            return sorted(found)


async def _pages(batch: Batch, key: str, wanted: Wanted, *, newest_first: bool = False) -> AsyncIterator[list[str]]:
    """Yield the members of a sorted set by time, some at once; what comes meanwhile is not looked at."""
    since, until = wanted.bounds(datetime.now(UTC))
    lowest, highest = _ms(since) if since else "-inf", _ms(until)
    start = int(await batch.call("ZCOUNT", key, "-inf", f"({lowest}")) if since else 0
    end = int(await batch.call("ZCOUNT", key, "-inf", highest))
    # Where old ones are removed while this reads, a few are missed; newest first, a few are seen twice.
    while start < end:
        if newest_first:
            first, last = max(start, end - _PAGE), end
            end = first
        else:
            first, last = start, min(start + _PAGE, end)
            start = last
        page: list[str] = await batch.call("ZRANGE", key, first, last - 1)
        yield page[::-1] if newest_first else page


def _replayable(record: Record) -> bool:
    """Whether a query was asked by people, and under no confidential profile, as far as its record tells."""
    private = record.answer.private if record.answer is not None else record.query.profile is not None
    return record.query.client != CLIENT and not private


def _of_record(number: int, record: Record, rating: float | None) -> ReplayItem:
    return _of_query(number, record.query_id, record.query, outcomes.of_record(record, score=rating))


def _of_letter(number: int, letter: DeadLetter) -> ReplayItem:
    baseline = Recorded(
        query_id=letter.query_id,
        trace_id=letter.query_id,
        state=State.FAILED,
        flow_keys=(letter.flow,),
        domains=(letter.domain,),
        attempts=letter.attempts,
        error_type=letter.error.error_type,
        error=letter.error.error,
        at=letter.at,
    )
    item = _of_query(number, letter.query_id, letter.query, baseline)
    # A remembered failure is no answer.
    cache = "refresh" if letter.query.cache == "use" else letter.query.cache
    return item.model_copy(update={"owner": letter.query.owner, "user": letter.query.user, "cache": cache})


def _of_query(number: int, query_id: str, query: Query, baseline: Recorded) -> ReplayItem:
    return ReplayItem(
        number=number,
        id=query_id,
        question=query.question,
        session_id=query.session_id,
        flow=query.flow,
        domain=query.domain,
        profile=query.profile,
        context=query.context,
        intent=query.intent,
        context_type=query.context_type,
        config=query.config,
        form=query.form,
        uploads=query.uploads,
        history=query.history,
        metadata=query.metadata,
        baseline=baseline,
    )


def _rating(scores: Sequence[Score]) -> float | None:
    return next((float(each.value) for each in scores if each.name == RATING and each.kind == "NUMERIC"), None)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
