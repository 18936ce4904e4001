"""The same producer for code without an event loop: one loop in a thread of its own does the work."""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar, Unpack

from agentic_flywheel.asker import LOCAL
from agentic_flywheel.broker.scores import RATING, Score
from agentic_flywheel.broker.sessions import Session
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError, ProducerClosed
from agentic_flywheel.models import Answer, Event, Query, Record, State, Turn
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import Decision
from producer.background_loop import BackgroundLoop, refuse_green_threads
from producer.client import AsyncProducer
from producer.connections import SUBMIT_PATIENCE
from producer.fields import QueryFields
from producer.submitting import Submission

T = TypeVar("T")


class Producer:
    """Submits and follows the queries of one owner, or of one of its users.

    Use it as a context manager; any thread may call it.

    Every method does what AsyncProducer's of the same name does and returns when it is done. Every method that talks
    to the broker raises BrokerUnavailable when it gives no answer, BrokerRefused when a person must act first, and
    ProducerClosed after ``close``. A forked child may go on with its parent's producer: it connects anew.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        owner: str = LOCAL,
        user: str | None = None,
        client: str = "python",
        patience: float = 0.0,
    ) -> None:
        """Take the settings, or those of the environment and of a stack that runs here. Nothing is connected yet.

        ``owner`` is whose queries these are: only that owner finds them again. ``user`` is for whom the owner asks;
        then only what is that user's is found. ``client`` names the calling program in records and traces.
        ``patience``: seconds for which a submission is repeated that the broker did not answer. Raises InvalidSetting,
        InvalidQuery; GreenThreads where gevent or eventlet has replaced Python's threads.
        """
        refuse_green_threads()
        self._async = AsyncProducer(settings, owner=owner, user=user, client=client, patience=patience)
        self._closed = False
        #: By process. A forked child leaves its parent's as it is, since the thread is not there.
        self._threads: dict[int, BackgroundLoop] = {}
        weakref.finalize(self, _stop, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Queries under way go on. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if (thread := self._threads.get(os.getpid())) is not None:
            thread.run(self._async.close())
            thread.stop()

    @property
    def catalog(self) -> Catalog:
        """The flow registry in force; a changed file is noticed. Raises InvalidRegistry if it is faulty at first."""
        return self._async.catalog

    def submit(
        self, question: str | Query = "", *, idempotency_key: str | None = None, **fields: Unpack[QueryFields]
    ) -> Submission:
        """Accept a question into the queue and return its id, without waiting for the answer.

        ``fields`` are those of ``Query``; ``timeout`` (seconds, or a timedelta) may stand for ``deadline``. The same
        question under the same ``idempotency_key`` is accepted once. Raises InvalidQuery, IdempotencyConflict,
        UnknownFlow, UnknownDomain, UnknownProfile, InvalidProfile, UnknownSession, InvalidRegistry, QueueFull,
        BrokerRefused: then nothing was accepted. After BrokerUnavailable it may have been: repeat it with its key.
        """
        return self._run(self._async.submit(question, idempotency_key=idempotency_key, **fields))

    def submit_many(
        self,
        questions: Iterable[str | Query],
        *,
        idempotency_keys: Iterable[str | None] | None = None,
        limit_wait: float = SUBMIT_PATIENCE,
        **fields: Unpack[QueryFields],
    ) -> list[Submission | FlywheelError]:
        """Submit many questions at once; in the place of one that was refused stands its error.

        Repeated by itself for 20 s while the broker is away; nothing is accepted twice by that. ``limit_wait``: seconds
        in which what is beyond a limit of the owner is submitted again.
        """
        many = self._async.submit_many(questions, idempotency_keys=idempotency_keys, limit_wait=limit_wait, **fields)
        return self._run(many)

    def ask(
        self,
        question: str | Query = "",
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[QueryFields],
    ) -> Answer:
        """Submit a question and return its answer; wait for it for ``wait`` seconds, or as long as it takes.

        Raises what ``submit`` raises and what ``wait`` raises.
        """
        return self._run(self._async.ask(question, wait=wait, idempotency_key=idempotency_key, **fields))

    def wait(self, query_id: str, timeout: float | None = None) -> Answer:
        """Return a query's answer as soon as it is there.

        Raises the error that the query ended with, WaitTimeout after ``timeout`` seconds, InputRequired as soon as its
        flow asks a person, UnknownQuery, BrokerUnavailable, QueryLost where the broker comes back without the query,
        QueryRemoved where the record is removed meanwhile.
        """
        return self._run(self._async.wait(query_id, timeout))

    def stream(self, query_id: str, *, after: str = "-") -> Generator[Event, None, None]:
        """Yield a query's events since the one with the id ``after``, then as they come, up to the final one.

        Raises, at the first step of the iteration, UnknownQuery, BrokerUnavailable, and InvalidQuery where ``after`` is
        none; QueryLost and QueryRemoved as ``wait`` does.
        """
        events, process = self._async.stream(query_id, after=after), os.getpid()
        try:
            while (event := self._run(_next(events))) is not None:
                after = event.id
                yield event
                if process != os.getpid():  # a forked child reads on over its own connection
                    events, process = self._async.stream(query_id, after=after), os.getpid()
        finally:
            if process == os.getpid():
                with suppress(ProducerClosed):
                    self._run(events.aclose())

    def status(self, query_id: str) -> Record:
        """Return all that is known of a query. Raises UnknownQuery, BrokerUnavailable."""
        return self._run(self._async.status(query_id))

    def recent(self, *, limit: int = 20) -> list[Record]:
        """Return this asker's latest queries, ``limit`` at most, the newest first. Raises BrokerUnavailable."""
        return self._run(self._async.recent(limit=limit))

    def records(self, query_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of these queries, None for those that this asker does not have.

        Raises BrokerUnavailable.
        """
        return self._run(self._async.records(query_ids))

    def cancel(
        self, query_id: str | None = None, *, session_id: str | None = None, everything: bool = False
    ) -> dict[str, State]:
        """Cancel one query, those of a session, or all of this asker's. Returns the state that each was in before.

        Raises UnknownQuery, UnknownSession, BrokerUnavailable.
        """
        return self._run(self._async.cancel(query_id, session_id=session_id, everything=everything))

    def resume(self, query_id: str, decision: Decision, *, feedback: str | None = None, stop: int | None = None) -> int:
        """Have a query whose flow has stopped go on with a person's decision. Returns the number of the stop.

        Raises AlreadyDecided, NothingToDecide, UnknownQuery, InvalidQuery, BrokerUnavailable.
        """
        return self._run(self._async.resume(query_id, decision, feedback=feedback, stop=stop))

    def waiting(self, *, limit: int = 100) -> list[Record]:
        """Return this asker's queries that wait for a person, those that expire first first.

        Raises BrokerUnavailable.
        """
        return self._run(self._async.waiting(limit=limit))

    def reroute(self, query_id: str, flow: str, *, idempotency_key: str | None = None) -> Submission:
        """Ask a query's question again of the flow that it should have gone to, and keep that for learning.

        Raises UnknownQuery, UnknownFlow, InvalidQuery where it went to that very flow, and what ``submit`` raises.
        """
        return self._run(self._async.reroute(query_id, flow, idempotency_key=idempotency_key))

    def score(self, query_id: str, value: bool | float | str, *, name: str = RATING, comment: str = "") -> Score:
        """Keep how good an answer was: a number from 1 to 10, true or false, or a category.

        Raises InvalidScore, UnknownQuery, BrokerUnavailable.
        """
        return self._run(self._async.score(query_id, value, name=name, comment=comment))

    def history(self, session_id: str, *, limit: int = 50) -> list[Turn]:
        """Return the last ``limit`` turns of a session, the oldest first. Raises UnknownSession, BrokerUnavailable."""
        return self._run(self._async.history(session_id, limit=limit))

    def use_profile(self, session_id: str, profile: str | None) -> Session:
        """Let a session carry a domain profile from now on, or none; a session that does not exist yet begins.

        Raises InvalidQuery, UnknownProfile, InvalidProfile, UnknownSession, BrokerUnavailable.
        """
        return self._run(self._async.use_profile(session_id, profile))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise ProducerClosed
        # One of two threads that come at once makes it: `setdefault` is atomic.
        return self._threads.setdefault(os.getpid(), BackgroundLoop()).run(work)


def _stop(threads: dict[int, BackgroundLoop]) -> None:
    """End the thread of a producer that was not closed, or that the interpreter's end finds open."""
    if (thread := threads.get(os.getpid())) is not None:
        thread.stop()


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
