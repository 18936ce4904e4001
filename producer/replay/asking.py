"""Ask a replay's questions through the queues. Each id follows from replay and item, so it is found after a crash."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import load_record, needed, remove_dead_letters
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError, OwnerLimitReached, QueueFull, UnknownQuery
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Record, State
from agentic_flywheel.settings import Settings
from producer.connections import Caller, Connections
from producer.replay import ids, outcomes
from producer.replay.items import ReplayItem
from producer.replay.own import CLIENT, RETRY_CLIENT
from producer.replay.plan import Options, Plan
from producer.replay.results import ItemResult
from producer.submitting import SubmissionName, put, query_from

logger = logging.getLogger(__name__)

#: Seconds that a replay waits for a broker that is away. Then it stops, and can be resumed.
PATIENCE = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: Seconds for which the record of an item is kept once its result is on disk: a message that is delivered again must
#: find that its query has ended.
_KEPT = 600
#: Times that a question is asked which was cancelled, expired or forgotten before. After that its last state counts.
_ATTEMPTS = 5


class QueueAsker:
    """Asks the items of one replay, and finds again what an earlier process of the same replay has asked."""

    def __init__(self, settings: Settings | None, plan: Plan, *, resumed: bool) -> None:
        """``resumed``: an earlier process may have asked some of the items. Raises InvalidSetting."""
        self._shared = Connections(settings)
        self._plan = plan
        self._resumed = resumed
        #: When the broker was last there, by the monotonic clock.
        self._reached = time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._shared.close()

    @property
    def _batch(self) -> Batch:
        return self._shared.batch

    async def ask_item(self, item: ReplayItem) -> ItemResult:
        """Return what becomes of an item. Raises BrokerUnavailable when the broker stays away, InvalidRegistry."""
        # A faulty registry ends the replay; it is not the failure of one item.
        _ = self._shared.catalog
        started = datetime.now(UTC)
        fields = self._fields(item)
        options = self._plan.options
        client = RETRY_CLIENT if options.redrive else CLIENT
        caller = Caller(self._shared, _asker(item, options), client)
        submissions = calls = 0
        for attempt in range(1, _ATTEMPTS + 1):
            query_id = self._query_id(item, attempt)
            try:
                record, known, submitted = await self._settle(caller, query_id, fields)
            except BrokerUnavailable:
                raise
            except FlywheelError as refused:
                outcome, query_id = outcomes.of_refusal(refused), ""
                submissions = max(1, submissions)
                break
            submissions += submitted
            calls += await self._calls(record)
            outcome = outcomes.of_record(record)
            # A query of an earlier process may have ended without an answer that is kept: cancelled, expired, an answer
            # that has left the cache. It is asked once more.
            if not known or outcome.state in (State.SUCCEEDED, State.FAILED):
                break
        return ItemResult(
            item=item,
            query_id=query_id,
            trace_id=trace_id_of(query_id),
            session_id=fields.get("session_id"),
            outcome=outcome,
            started=started,
            ended=datetime.now(UTC),
            attempts=max(1, submissions),
            calls=calls,
        )

    async def settled(self, results: Sequence[ItemResult]) -> None:
        """Delete from the broker what is on disk now: answers and events, or the dead letters that were asked again."""
        try:
            if self._plan.options.redrive:
                await remove_dead_letters(self._batch, [result.item.id for result in results if _redriven(result)])
            else:
                await self._forget([result for result in results if result.query_id])
        except BrokerUnavailable:
            logger.info("the records of %d results are kept until they expire: the broker is away", len(results))

    def _query_id(self, item: ReplayItem, attempt: int) -> str:
        if self._plan.options.redrive:
            return ids.retry_id(item.id, attempt)
        return ids.query_id(self._plan.run_id, item.number, attempt)

    def _fields(self, item: ReplayItem) -> dict[str, Any]:
        options = self._plan.options
        session = item.session_id
        metadata: dict[str, Any] = {**item.metadata, "replay": self._plan.run_id, "replay_item": item.id}
        if options.redrive:
            metadata = {**item.metadata, "redrive_of": item.id}
        elif session is not None:
            session = ids.session_id(self._plan.run_id, session)
        found = {
            "question": item.question,
            "session_id": session,
            "flow": item.flow,
            "domain": item.domain,
            "profile": item.profile,
            "context": item.context,
            "intent": item.intent,
            "context_type": item.context_type,
            "config": item.config,
            "form": item.form,
            "uploads": item.uploads,
            "history": item.history,
            "timeout": options.timeout,
            "cache": item.cache or options.cache,
            "priority": options.priority,
            "metadata": metadata,
        }
        return {name: value for name, value in found.items() if value}

    async def _settle(self, caller: Caller, query_id: str, fields: dict[str, Any]) -> tuple[Record, bool, int]:
        """Ask under this id unless that was done before, and return the record once it has ended.

        Also whether the query was there before, and how often it was submitted here.
        """
        # Another process may ask the same dead letter again.
        known = (self._resumed or self._plan.options.redrive) and await self._through(self._exists, query_id)
        submitted = 0
        async with self._shared.listener.watch(wire.channel_of(query_id), query_id) as bell:
            if not known:
                submitted += await self._through(_put, caller, query_id, fields)
                if submitted:
                    await bell.wait()
            while True:
                bell.clear()
                try:
                    record = await self._through(partial(load_record, self._batch, query_id, asker=caller.asker))
                except UnknownQuery:
                    # The broker lost its data and does not know the query: submit it again.
                    submitted += await self._through(_put, caller, query_id, fields)
                    continue
                if record.state.terminal:
                    return record, known, submitted
                if record.stops:
                    return await self._undecided(caller, record), known, submitted
                await bell.wait()

    async def _undecided(self, caller: Caller, record: Record) -> Record:
        """Return how a query ends here whose flow asks a person. Nobody decides for a replay, so it is cancelled."""
        if not self._plan.options.redrive:
            cancel = partial(self._shared.transitions.cancel, asker=caller.asker, reason="nobody decides for a replay")
            await self._through(cancel, [record.query_id])
        asked = needed(record).describe(record.query_id)
        return record.model_copy(update={"state": State.FAILED, "error": asked, "finished": datetime.now(UTC)})

    async def _exists(self, query_id: str) -> bool:
        return bool(await self._batch.call("EXISTS", wire.record_key(query_id)))

    async def _through(self, call: Any, *given: Any) -> Any:
        """Call until the broker is there and takes it. Raises BrokerUnavailable after PATIENCE."""
        pause = _FIRST_PAUSE
        while True:
            try:
                found = await call(*given)
            except (QueueFull, OwnerLimitReached) as full:
                await asyncio.sleep(min(full.retry_after, _LONGEST_PAUSE) * random.uniform(0.5, 1.0))
            except BrokerUnavailable:
                if time.monotonic() - self._reached > PATIENCE:
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._reached = time.monotonic()
                return found

    async def _calls(self, record: Record) -> int:
        """Return how many calls of flows a query made itself; the parts of a fan-out count apart."""
        if record.route is None or len(record.route.targets) < 2:
            return record.attempts
        counted: dict[str, str] = await self._through(self._batch.call, "HGETALL", wire.record_key(record.query_id))
        return sum(int(value) for name, value in counted.items() if name.partition("|")[0] == "attempts")

    async def _forget(self, results: Sequence[ItemResult]) -> None:
        """Drop answers and events, which are on disk or of no use any more; the records follow by themselves."""
        if not results:
            return
        owned: dict[str, list[str]] = {}
        dropped: list[str] = []
        calls = []
        for result in results:
            query_id = result.query_id
            dropped += [wire.result_key(query_id), wire.events_key(query_id)]
            asker = _asker(result.item, self._plan.options)
            for name in {asker.owner, asker.name}:
                owned.setdefault(name, []).append(query_id)
            calls.append(self._batch.call("EXPIRE", wire.record_key(query_id), _KEPT, "LT"))
        calls.append(self._batch.call("UNLINK", *dropped))
        calls += [self._batch.call("ZREM", wire.owned_key(name), *query_ids) for name, query_ids in owned.items()]
        await asyncio.gather(*calls)


def _asker(item: ReplayItem, options: Options) -> Asker:
    return Asker(item.owner or options.owner, item.user)


async def _put(caller: Caller, query_id: str, fields: dict[str, Any]) -> int:
    """Submit; return 1, or 0 where the answer is there already."""
    submission = await put(caller, SubmissionName(query_id), query_from(caller, fields["question"], fields))
    return 0 if submission.answer is not None else 1


def _redriven(result: ItemResult) -> bool:
    """Whether a dead letter had its chance: answered, or failed anew with a letter of its own."""
    return bool(result.query_id) and result.outcome.state in (State.SUCCEEDED, State.FAILED, "classified")
