"""What a caller uses: submit questions, wait for answers, watch them come, cancel them."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, connect
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError, InvalidQuery, QueueFull, UnknownSession, WaitTimeout
from agentic_flywheel.learning.lessons import keep_rerouting
from agentic_flywheel.models import (
    Answer,
    Event,
    Model,
    Query,
    Record,
    State,
    Turn,
    new_producer_id,
    new_query_id,
    read_query,
    trace_id_of,
)
from agentic_flywheel.persistence import flow_of_key, front_digest, read_answer
from agentic_flywheel.records import (
    asked_only,
    load_outcome,
    load_record,
    load_records,
    read_events,
    read_told,
    recent_queries,
)
from agentic_flywheel.scores import RATING, Score, give_score
from agentic_flywheel.sessions import Session, load_session, recent_turns, use_profile
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer
from agentic_flywheel.transitions import Submitted, Transitions
from producer.front_trace import trace_hit
from producer.listener import Bell, Listener
from producer.stack.state import stack_settings

if TYPE_CHECKING:
    from agentic_flywheel.profiles import Profile, ProfileWatch
    from agentic_flywheel.registry import CatalogWatch

#: Seconds for which a waiting caller bears a broker that is away.
_PATIENCE = 60.0
#: Seconds after which a full queue is worth another try when it does not drain at all.
_STALLED = 30.0


class Submission(Model):
    """A query that was accepted. ``answer`` is there at once where the cache had it."""

    query_id: str
    trace_id: str
    session_id: str | None = None
    #: The query whose call this one waits for.
    attached_to: str | None = None
    answer: Answer | None = None


class AsyncProducer:
    """Submits and follows the queries of one owner. Use it as an async context manager, from one event loop."""

    def __init__(self, settings: Settings | None = None, *, owner: str = "local", client: str = "python") -> None:
        """Take the settings; nothing is read or connected yet. Raises InvalidSetting."""
        self.settings = stack_settings(settings)
        self.owner = owner
        self.client = client
        self._prefix = new_producer_id()
        self.batch = Batch(connect(self.settings.redis_url))
        self.transitions = Transitions(self.batch, self.settings)
        self._listener = Listener(self.settings.redis_url)
        self._tracer = Tracer.from_settings(self.settings, service="flywheel-producer")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Queries under way go on."""
        await self._listener.close()
        await self.batch.close()
        await asyncio.to_thread(self._tracer.close)

    def acting_for(self, owner: str) -> AsyncProducer:
        """Return a producer for another owner over the same connections. Close the first one only."""
        twin = copy.copy(self)
        twin.owner = owner
        return twin

    @cached_property
    def _watch(self) -> CatalogWatch:
        # Read when a query is submitted: who only looks at one needs no registry, and its parser takes a while.
        from agentic_flywheel.registry import CatalogWatch

        return CatalogWatch(self.settings.registry)

    @cached_property
    def profiles(self) -> ProfileWatch:
        """The domain profiles that are kept here, watched for changes."""
        from agentic_flywheel.profiles import ProfileWatch

        return ProfileWatch(self.settings.profiles)

    @property
    def catalog(self) -> Catalog:
        """The registry in force; a changed file is noticed. Raises InvalidRegistry if it is faulty from the start."""
        return self._watch.current()

    async def submit(self, question: str | Query, **fields: Any) -> Submission:
        """Accept a question into the queue and return its id.

        ``fields`` are those of ``Query``; ``timeout`` (seconds or timedelta) may stand for ``deadline``. Raises
        InvalidQuery, InvalidRegistry, InvalidProfile, UnknownFlow, UnknownDomain, UnknownProfile, UnknownSession,
        QueueFull, BrokerUnavailable; then nothing is left.
        """
        return await self._submit(new_query_id(self._prefix), self._query(question, fields))

    async def submit_many(self, questions: Iterable[str | Query], **fields: Any) -> list[Submission | FlywheelError]:
        """Submit many at once, in their order. One that is refused leaves its error in its place."""
        found = await asyncio.gather(*(self._settled(question, fields) for question in questions))
        return list(found)

    async def ask(self, question: str | Query, *, wait: float | None = None, **fields: Any) -> Answer:
        """Submit and wait for the answer, for at most ``wait`` seconds.

        Raises what ``submit`` and ``wait`` raise.
        """
        query_id = new_query_id(self._prefix)
        async with self._listener.watch(wire.channel_of(query_id), query_id) as bell:
            submission = await self._submit(query_id, self._query(question, fields))
            if submission.answer is not None:
                return submission.answer
            return await self._await(query_id, bell, wait, known=True)

    async def wait(self, query_id: str, timeout: float | None = None) -> Answer:
        """Return a query's answer as soon as it is there.

        Raises the error that the query ended with, WaitTimeout after ``timeout`` seconds, UnknownQuery.
        """
        await load_record(self.batch, query_id, owner=self.owner)
        channel = wire.channel_of(query_id)
        async with self._listener.watch(channel, query_id) as bell:
            answer = await self._await(query_id, bell, timeout, known=False)
        if not query_id.startswith(self._prefix):
            await self._listener.forget(channel)
        return answer

    async def stream(self, query_id: str, *, after: str = "-") -> AsyncIterator[Event]:
        """Yield a query's events: those since ``after`` (an event's id), then as they come, up to the final one.

        A reader that was cut off goes on where it was, also after the end. Raises UnknownQuery, BrokerUnavailable.
        """
        await load_record(self.batch, query_id, owner=self.owner)
        channel = wire.news_channel(query_id)
        try:
            async with self._listener.watch(channel) as bell:
                while True:
                    bell.clear()
                    events = await read_events(self.batch, query_id, after)
                    for event in events:
                        yield event
                        after = event.id
                        if event.kind == "final":
                            return
                    if not events:
                        record = await load_record(self.batch, query_id, owner=self.owner, patience=_PATIENCE)
                        if record.state.terminal and not bell.is_set():
                            yield _final(record)
                            return
                    await bell.wait()
        finally:
            await self._listener.forget(channel)

    async def status(self, query_id: str) -> Record:
        """Return all that is known of a query. Raises UnknownQuery, BrokerUnavailable."""
        return await load_record(self.batch, query_id, owner=self.owner)

    async def cancel(
        self, query_id: str | None = None, *, session_id: str | None = None, everything: bool = False
    ) -> dict[str, State]:
        """Cancel one query, those of a session, or all of this owner's. Returns the state that each was in.

        One that had ended stays as it was. Raises UnknownQuery, UnknownSession, BrokerUnavailable.
        """
        if query_id is not None:
            await load_record(self.batch, query_id, owner=self.owner)
            ids: Sequence[str] = [query_id]
        elif session_id is not None:
            ids = (await load_session(self.batch, session_id, owner=self.owner)).under_way
        elif everything:
            ids = await self.batch.call("ZREVRANGE", wire.owned_key(self.owner), 0, -1)
        else:
            return {}
        # The latest first: cancelling the head of a session would otherwise start the next one.
        latest_first = list(reversed(ids)) if session_id is not None else list(ids)
        states = await self.transitions.cancel(latest_first, owner=self.owner, reason="asked by its owner")
        return {each: State(state) for each, state in zip(latest_first, states, strict=True) if state != "unknown"}

    async def score(self, query_id: str, value: bool | float | str, *, name: str = RATING, comment: str = "") -> Score:
        """Say how good an answer was: 1 to 10, whether, or a category. Repeating it changes nothing.

        It is kept beside the query, and workers send it to Langfuse. Raises InvalidScore, UnknownQuery,
        BrokerUnavailable.
        """
        return await give_score(self.batch, query_id, value, name=name, comment=comment, owner=self.owner)

    async def reroute(self, query_id: str, flow: str) -> Submission:
        """Ask a query's question again of the flow that it should have gone to, and remember that for learning.

        The new query has everything of the old one but its deadline; its ``metadata.reroute_of`` names it. Raises
        UnknownQuery, UnknownFlow, InvalidQuery where it went to that very flow, and what ``submit`` raises.
        """
        record = await load_record(self.batch, query_id, owner=self.owner)
        right = self.catalog.flow(flow).key
        if asked_only(record, right):
            raise InvalidQuery("flow", f"query {query_id} was asked of {right} already")
        # What was learned holds also where the queue is full, and telling it again changes nothing.
        await keep_rerouting(self.batch, query_id, right, owner=self.owner)
        metadata = {**record.query.metadata, "reroute_of": query_id}
        return await self.submit(record.query, flow=right, domain=None, intent=None, deadline=None, metadata=metadata)

    async def history(self, session_id: str, *, limit: int = 50) -> list[Turn]:
        """Return a session's turns, the oldest first. Raises UnknownSession, BrokerUnavailable."""
        await load_session(self.batch, session_id, owner=self.owner)
        return await recent_turns(self.batch, session_id, limit)

    async def use_profile(self, session_id: str, profile: str | None) -> Session:
        """Let a session carry a domain profile from now on, None: none; begins the session where there is none.

        Raises InvalidQuery, UnknownProfile, InvalidProfile, UnknownSession, BrokerUnavailable.
        """
        # As strict as a query that names both.
        self._profile_of(self._query("?", {"session_id": session_id, "profile": profile}))
        ttl = self.settings.session_ttl
        return await use_profile(self.batch, session_id, profile, owner=self.owner, ttl=ttl)

    async def recent(self, *, limit: int = 20) -> list[Record]:
        """Return this owner's latest queries, the newest first."""
        return await recent_queries(self.batch, self.owner, limit=limit)

    async def records(self, query_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of this owner's queries, None for those that are not known."""
        found = await load_records(self.batch, query_ids)
        return [record if record is not None and record.owner == self.owner else None for record in found]

    def _query(self, question: str | Query, fields: dict[str, Any]) -> Query:
        given = {"user": self.owner, "client": self.client, **fields}
        timeout = given.pop("timeout", None)
        if timeout is not None:
            span = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
            given["deadline"] = datetime.now(UTC) + span
        asked = question.model_dump(exclude_unset=True) if isinstance(question, Query) else {"question": question}
        query = read_query({**asked, **given})
        if query.flow is not None:
            self.catalog.flow(query.flow)
        if query.domain is not None:
            self.catalog.in_domain(query.domain)
        return query

    async def _submit(self, query_id: str, query: Query) -> Submission:
        catalog = self.catalog
        domain = catalog.flow(query.flow).domain if query.flow else query.domain
        profile = self._profile_of(query)
        # A profile that only the workers have may be another one by now, so its answers are looked up by them.
        at_front = query.profile is None or profile is not None
        written = query.written()
        began = time.time_ns()
        submitted = await self.transitions.submit(
            query_id,
            query,
            written,
            wire.classify_message(query_id, query, written),
            front=front_digest(query, catalog, profile.revision if profile else "") if at_front else "",
            domain=domain,
        )
        answer: Answer | None = None
        match submitted.outcome:
            case "full":
                pace = submitted.drained / 60
                seconds = max(1.0, 0.05 * submitted.length / pace) if pace else _STALLED
                queue = wire.domain_queue(domain) if domain else wire.CLASSIFY_QUEUE
                raise QueueFull(queue, submitted.length, round(seconds, 1))
            case "foreign":
                raise UnknownSession(query.session_id or "")
            case "profiled":
                return await self._submit(query_id, query.model_copy(update={"profile": submitted.profile}))
            case "hit":
                answer = _kept(query_id, query, submitted, catalog)
                flow = catalog.flows.get(answer.flow)
                title = flow.title if flow else None
                private = profile is not None and profile.confidential
                trace_hit(self._tracer, query, answer, submitted.answer, began, title, private=private)
        return Submission(
            query_id=query_id,
            trace_id=trace_id_of(query_id),
            session_id=query.session_id,
            attached_to=submitted.leader.partition("|")[0] or None,
            answer=answer,
        )

    def _profile_of(self, query: Query) -> Profile | None:
        """Return a query's profile, None without one and where none are kept here: then the workers know.

        Raises UnknownProfile, InvalidProfile.
        """
        if query.profile is None or not self.profiles.folders:
            return None
        return self.profiles.get(query.profile, query.user)

    async def _settled(self, question: str | Query, fields: dict[str, Any]) -> Submission | FlywheelError:
        try:
            return await self.submit(question, **fields)
        except FlywheelError as refused:
            return refused

    async def _await(self, query_id: str, bell: Bell, timeout: float | None, *, known: bool) -> Answer:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if known:  # just submitted: there is nothing to read before the bell rings
                    await bell.wait()
                while True:
                    bell.clear()
                    if bell.told:
                        return read_told(query_id, bell.told)
                    answer = await load_outcome(self.batch, query_id, patience=_PATIENCE)
                    if answer is not None:
                        return answer
                    await bell.wait()
        raise WaitTimeout(query_id, timeout or 0.0)


def _kept(query_id: str, query: Query, submitted: Submitted, catalog: Catalog) -> Answer:
    kept = read_answer(submitted.answer, flow_of_key(submitted.cache_key))
    flow = catalog.flows.get(kept.flow)
    return kept.model_copy(
        update={
            "query_id": query_id,
            "session_id": query.session_id,
            "cache_key": submitted.cache_key,
            # A value that somebody else wrote has none.
            "domain": kept.domain or (flow.domain if flow else ""),
            "elapsed": timedelta(0),
            "remembered": False,
            "trace_id": trace_id_of(query_id),
        }
    )


def _final(record: Record) -> Event:
    """The last event of a query that has no stream, or whose stream was read to its end."""
    at = record.finished or record.created
    return Event(id=f"{int(at.timestamp() * 1000)}-0", kind="final", at=at, data={"state": record.state})
