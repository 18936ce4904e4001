"""Wait for answers and follow events. A caller sleeps until the broker publishes that its query has news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.events import NO_PLACE, is_place, read_events
from agentic_flywheel.broker.records import load_outcome, load_record, read_told
from agentic_flywheel.errors import (
    BrokerUnavailable,
    InvalidQuery,
    QueryLost,
    QueryRemoved,
    RecordUnreadable,
    UnknownQuery,
    WaitTimeout,
)
from agentic_flywheel.given import seconds_of
from agentic_flywheel.models import Answer, Event, EventKind, Query, Record
from producer.connections import PATIENCE, Caller, Connections
from producer.fields import QueryFields
from producer.listener import Bell
from producer.submitting import name_for, put, query_from

#: Seconds that a submission has at least, however short the wait for its answer: two without a subscription, one more.
_LEAST = 3.0


async def ask(
    caller: Caller, question: str | Query, fields: QueryFields, timeout: float | None, key: str | None = None
) -> Answer:
    """Submit a question and return its answer. Raises what ``put``, ``query_from``, ``name_for`` and ``wait`` raise."""
    limit = _Limit(timeout)
    query = query_from(caller, question, fields)
    name = name_for(caller, query, key)
    async with AsyncExitStack() as watched:
        async with limit.for_broker(caller):
            # Watched before it is submitted: an end that is published in between would be missed.
            bell = await watched.enter_async_context(_watch(caller.shared, name.query_id))
            submission = await put(caller, name, query)
        if submission.answer is not None:
            return submission.answer
        # An id that is new ends later than this; one of a key may have ended before.
        return await _answer(caller, name.query_id, bell, limit, known=not name.key)


async def wait(caller: Caller, query_id: str, timeout: float | None) -> Answer:
    """Return a query's answer as soon as it is there.

    Raises the error that the query ended with, InputRequired as soon as its flow asks a person, WaitTimeout after
    ``timeout`` seconds, UnknownQuery, BrokerUnavailable; QueryLost where the broker comes back without the query;
    QueryRemoved where its record is removed meanwhile.
    """
    limit = _Limit(timeout)
    async with AsyncExitStack() as watched:
        async with limit.for_broker(caller):
            looking = load_record(caller.shared.batch, query_id, asker=caller.asker)
            record, bell = await _at_once(looking, watched.enter_async_context(_watch(caller.shared, query_id)))
            if record.answer is not None:
                return record.answer
        return await _answer(caller, query_id, bell, limit, known=False)


async def stream(caller: Caller, query_id: str, after: str) -> AsyncGenerator[Event, None]:
    """Yield a query's events since ``after``, up to the final one.

    Raises InvalidQuery where ``after`` is no event's id, UnknownQuery, BrokerUnavailable; QueryLost where the broker
    comes back without the query; QueryRemoved where its record is removed meanwhile.
    """
    if not is_place(after):
        raise InvalidQuery("after", NO_PLACE)
    shared, own = caller.shared, wire.news_channel(query_id)
    async with AsyncExitStack() as watched:
        looking = load_record(shared.batch, query_id, asker=caller.asker)
        _, bell = await _at_once(looking, _news(shared, watched, own))
        bells = {own: bell}
        while True:
            for bell in bells.values():
                bell.clear()
            events = await read_events(shared.batch, query_id, after, patience=PATIENCE)
            for event in events:
                yield event
                after = event.id
                if event.kind == EventKind.FINAL:
                    return
                if event.kind == EventKind.ATTACHED and "query_id" in event.data:
                    leader = wire.news_channel(event.data["query_id"])
                    bells[leader] = bells.get(leader) or await _news(shared, watched, leader)
            if not events:
                with _known_before(shared, query_id, bells[own]):
                    record = await load_record(shared.batch, query_id, asker=caller.asker, patience=PATIENCE)
                if record.state.terminal and not any(bell.is_set() for bell in bells.values()):
                    yield _final(record)
                    return
            await _any_set(bells.values())


async def _at_once(looking: Coroutine[Any, Any, Record], watching: Coroutine[Any, Any, Bell]) -> tuple[Record, Bell]:
    """Return what both return. Raises what the first raises; the second has ended then, too."""
    listening = asyncio.create_task(watching)
    try:
        return await looking, await listening
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _news(shared: Connections, watched: AsyncExitStack, channel: str) -> Bell:
    watched.push_async_callback(shared.listener.forget, channel)
    return await watched.enter_async_context(shared.listener.watch(channel))


async def _any_set(bells: Iterable[Bell]) -> None:
    waiting = [asyncio.create_task(bell.wait()) for bell in bells]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


@asynccontextmanager
async def _watch(shared: Connections, query_id: str) -> AsyncIterator[Bell]:
    """Yield the bell of a query's end; end a subscription that serves no other query of this process."""
    listener, channel, ours = shared.listener, wire.channel_of(query_id), shared.made(query_id)
    try:
        async with listener.watch(channel, query_id) as bell:
            yield bell
    finally:
        if not ours:
            await listener.forget(channel)


class _Limit:
    """The time that a caller waits, in seconds from now; None: as long as it takes."""

    def __init__(self, wait: float | None) -> None:
        """Raises InvalidQuery for what is no time."""
        self.wait = seconds_of(wait)
        self.until = None if self.wait is None else asyncio.get_running_loop().time() + self.wait

    @asynccontextmanager
    async def for_broker(self, caller: Caller) -> AsyncIterator[None]:
        """Bound what has to be done before the waiting; it has three seconds at least. Raises BrokerUnavailable."""
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(None if self.until is None else max(self.until, now + _LEAST)):
                yield
        except TimeoutError:
            said = f"it did not answer within {max(self.wait or 0.0, _LEAST):g} s"
            raise BrokerUnavailable(caller.shared.batch.address, said) from None


async def _answer(caller: Caller, query_id: str, bell: Bell, limit: _Limit, *, known: bool) -> Answer:
    with suppress(TimeoutError):
        async with asyncio.timeout_at(limit.until):
            if known:  # just submitted: there is nothing to read before the bell rings
                await bell.wait()
            while True:
                bell.clear()
                if bell.told:
                    with suppress(RecordUnreadable):  # anybody may publish; what is stored counts
                        return read_told(query_id, bell.told)
                with _known_before(caller.shared, query_id, bell):
                    answer = await load_outcome(caller.shared.batch, query_id, patience=PATIENCE)
                if answer is not None:
                    return answer
                await bell.wait()
    raise WaitTimeout(query_id, limit.wait or 0.0)


@contextmanager
def _known_before(shared: Connections, query_id: str, bell: Bell) -> Iterator[None]:
    """Raise QueryLost or QueryRemoved where the broker does not know a query that it has accepted."""
    try:
        yield
    except UnknownQuery:
        # A broker that was there all the time has lost nothing.
        raise (QueryRemoved if shared.listener.heard_all(bell) else QueryLost)(query_id) from None


def _final(record: Record) -> Event:
    """Return the last event of a query that has no stream, or whose stream was read to its end."""
    at = record.finished or record.created
    return Event(id=f"{int(at.timestamp() * 1000)}-0", kind=EventKind.FINAL, at=at, data={"state": record.state})
