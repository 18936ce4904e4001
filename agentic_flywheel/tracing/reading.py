"""Read traces back: from Langfuse, else from the local file, else from the queries' records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Record, Turn
from agentic_flywheel.records import load_records
from agentic_flywheel.scores import RATING, Score, scores_of
from agentic_flywheel.sessions import load_session, recent_turns
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.archive import Archive, ArchiveAway, Wish, nanoseconds
from agentic_flywheel.tracing.file_archive import FileArchive
from agentic_flywheel.tracing.observation import Observation, sampled
from agentic_flywheel.tracing.record_archive import RecordArchive
from agentic_flywheel.tracing.root import root_of
from agentic_flywheel.tracing.view import Found, TraceView

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Langfuse shows a trace some seconds after its end; so long a fresh one is waited for.
PATIENCE = timedelta(seconds=10)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


async def read_trace(
    batch: Batch, settings: Settings, query_id: str, *, owner: str | None = None, within: timedelta = PATIENCE
) -> TraceView:
    """Return one query's trace, waiting at most ``within`` for one that has just ended.

    Raises UnknownQuery, also where it is another owner's; BrokerUnavailable.
    """
    (record,) = await load_records(batch, [query_id])
    if record is not None and owner is not None and record.owner != owner:
        raise UnknownQuery(query_id)
    traced = settings.tracing_enabled and sampled(query_id, settings.langfuse_sample_rate)
    give_up = time.monotonic() + (within.total_seconds() if traced and _just_ended(record, within) else 0.0)

    async def whole(archive: Archive) -> tuple[list[Observation], list[Score]]:
        pause = _FIRST_PAUSE
        while True:
            found, scores = await archive.trace(query_id)
            if any(seen.is_root for seen in found) or time.monotonic() + pause > give_up:
                return found, scores
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    source, note, (found, scores) = await _first(_archives(batch, settings), whole, lambda result: bool(result[0]))
    root = next((seen for seen in found if seen.is_root), None)
    if not found or (record is None and owner is not None and (root is None or root.user != owner)):
        raise UnknownQuery(query_id)
    if root is None and record is not None and record.state.terminal:
        # The worker was killed before it had sent it.
        found = [root_of(record), *found]
    own = (await scores_of(batch, [query_id]))[query_id]
    return TraceView(
        query_id=query_id,
        observations=tuple(sorted(found, key=lambda seen: (not seen.is_root, seen.start, seen.end))),
        scores=tuple({score.name: score for score in [*scores, *own]}.values()),
        source=source,
        note=note,
    )


async def search_traces(batch: Batch, settings: Settings, wish: Wish) -> list[Found]:
    """Return the traces that are wanted, the latest first. Raises BrokerUnavailable."""

    async def found_in(archive: Archive) -> list[Observation]:
        # Where scores are kept apart, more traces are looked at than are wanted.
        roots = await archive.search(wish.model_copy(update={"limit": 1000}) if _scored_here(archive, wish) else wish)
        if not _scored_here(archive, wish):
            return roots
        scores = await scores_of(batch, [root.query_id for root in roots])
        return [root for root in roots if any(wish.admits_score(each) for each in _ratings(scores[root.query_id]))]

    _, _, roots = await _first(_archives(batch, settings), found_in, bool)
    roots = roots[: wish.limit]
    scores = await scores_of(batch, [root.query_id for root in roots])
    return [Found.of(root, next(iter(_ratings(scores[root.query_id])), None)) for root in roots]


async def read_thread(batch: Batch, settings: Settings, session_id: str, *, owner: str) -> list[Found]:
    """Return a session's queries, the first one first. Raises UnknownSession, BrokerUnavailable."""
    await load_session(batch, session_id, owner=owner)
    found = await search_traces(batch, settings, Wish(session=session_id, owner=owner, limit=1000))
    known = {each.query_id for each in found}
    turns = await recent_turns(batch, session_id, limit=1000)
    return sorted(
        [*found, *(_found_turn(turn, session_id, owner) for turn in turns if turn.query_id not in known)],
        key=lambda each: each.at,
    )


def _archives(batch: Batch, settings: Settings) -> list[Archive]:
    login = settings.langfuse_login
    archives: list[Archive] = [FileArchive(settings.home / "traces")] if login is None else []
    if login is not None:
        # Imported where it is needed: the SDK takes a second to import.
        from agentic_flywheel.tracing.langfuse_archive import LangfuseArchive

        archives.append(LangfuseArchive(*login))
    return [*archives, RecordArchive(batch)]


async def _first(
    archives: Sequence[Archive], ask: Callable[[Archive], Awaitable[T]], enough: Callable[[T], bool]
) -> tuple[str, str, T]:
    """Return the first archive's result that is enough, else the last one's; its name; and which could not be read."""
    away: list[str] = []
    for archive in archives:
        try:
            result = await ask(archive)
        except ArchiveAway as failure:
            logger.info("%s", failure)
            away.append(str(failure))
            continue
        if enough(result) or archive is archives[-1]:
            return archive.name, "; ".join(away), result
    raise AssertionError("the record is always there to be asked")


def _just_ended(record: Record | None, within: timedelta) -> bool:
    return record is not None and record.finished is not None and datetime.now(UTC) - record.finished < within


def _scored_here(archive: Archive, wish: Wish) -> bool:
    return wish.by_score and archive.name != "Langfuse"


def _ratings(scores: Sequence[Score]) -> list[float]:
    return [float(score.value) for score in scores if score.name == RATING and score.kind == "NUMERIC"]


def _found_turn(turn: Turn, session_id: str, owner: str) -> Found:
    root = Observation(
        turn.query_id,
        turn.question,
        "agent",
        nanoseconds(turn.at),
        nanoseconds(turn.at),
        is_root=True,
        input=turn.question,
        output=turn.answer,
        metadata={"flow": turn.flow, "domain": turn.domain},
        session=session_id,
        user=owner,
    )
    return Found.of(root, None)
