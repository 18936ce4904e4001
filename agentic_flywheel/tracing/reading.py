"""Read traces back from Langfuse, else from the local files, else from the queries' records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import load_records
from agentic_flywheel.broker.scores import RATING, Score, scores_of
from agentic_flywheel.broker.sessions import load_session, recent_turns
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Record, Turn
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.archive import Archive, ArchiveAway, Wish, nanoseconds
from agentic_flywheel.tracing.file_archive import FileArchive
from agentic_flywheel.tracing.observation import Observation, sampled
from agentic_flywheel.tracing.record_archive import RecordArchive
from agentic_flywheel.tracing.root import root_of
from agentic_flywheel.tracing.view import FoundTrace, TraceView

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long a trace that has just ended is waited for: Langfuse shows it after some seconds.
PATIENCE = timedelta(seconds=10)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


async def read_trace(
    batch: Batch, settings: Settings, query_id: str, *, asker: Asker | None = None, within: timedelta = PATIENCE
) -> TraceView:
    """Return one query's trace. Waits at most ``within`` for a trace that has just ended.

    Raises UnknownQuery where there is none, or where it is another asker's; BrokerUnavailable.
    """
    (record,) = await load_records(batch, [query_id])
    if record is not None and asker is not None and not asker.may_see(record.asker):
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
    if not found or (record is None and asker is not None and (root is None or not asker.may_see_named(root.user))):
        raise UnknownQuery(query_id)
    if root is None and record is not None and record.state.terminal:
        # The worker was killed before it sent the root.
        found = [root_of(record), *found]
    own = (await scores_of(batch, [query_id]))[query_id]
    return TraceView(
        query_id=query_id,
        observations=tuple(sorted(found, key=lambda seen: (not seen.is_root, seen.start, seen.end))),
        scores=tuple({score.name: score for score in [*scores, *own]}.values()),
        source=source,
        note=note,
    )


async def search_traces(batch: Batch, settings: Settings, wish: Wish) -> list[FoundTrace]:
    """Return the traces that fulfil the conditions, the latest first. Raises BrokerUnavailable."""

    async def found_in(archive: Archive) -> list[Observation]:
        # An archive without scores cannot filter by them, so more traces are read and filtered here.
        roots = await archive.search(wish.model_copy(update={"limit": 1000}) if _scored_here(archive, wish) else wish)
        if not _scored_here(archive, wish):
            return roots
        scores = await scores_of(batch, [root.query_id for root in roots])
        return [root for root in roots if any(wish.admits_score(each) for each in _ratings(scores[root.query_id]))]

    _, _, roots = await _first(_archives(batch, settings), found_in, bool)
    roots = roots[: wish.limit]
    scores = await scores_of(batch, [root.query_id for root in roots])
    return [FoundTrace.of(root, next(iter(_ratings(scores[root.query_id])), None)) for root in roots]


async def read_thread(batch: Batch, settings: Settings, session_id: str, *, asker: Asker) -> list[FoundTrace]:
    """Return a session's queries in the order in which they were asked. Raises UnknownSession, BrokerUnavailable."""
    await load_session(batch, session_id, asker=asker)
    found = await search_traces(batch, settings, Wish(session=session_id, asker=asker, limit=1000))
    known = {each.query_id for each in found}
    turns = await recent_turns(batch, session_id, limit=1000, asker=asker)
    return sorted(
        [*found, *(_found_turn(turn, session_id, asker) for turn in turns if turn.query_id not in known)],
        key=lambda each: each.at,
    )


def _archives(batch: Batch, settings: Settings) -> list[Archive]:
    login = settings.langfuse_login
    archives: list[Archive] = [FileArchive(settings.home / "traces")] if login is None else []
    if login is not None:
        # Imported here, because the import of the SDK takes a second.
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


def _found_turn(turn: Turn, session_id: str, asker: Asker) -> FoundTrace:
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
        user=asker.name,
    )
    return FoundTrace.of(root, None)
