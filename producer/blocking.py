"""The same producer for code without an event loop: one loop in a thread of its own does the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Answer, Event, Query, Record, State, Turn
from agentic_flywheel.scores import RATING, Score
from agentic_flywheel.sessions import Session
from agentic_flywheel.settings import Settings
from producer.client import AsyncProducer, Submission

T = TypeVar("T")


class Producer:
    """Submits and follows the queries of one owner. Use it as a context manager; any thread may call it.

    Every method is AsyncProducer's of the same name, with the same arguments and errors.
    """

    def __init__(self, settings: Settings | None = None, *, owner: str = "local", client: str = "python") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="producer", daemon=True)
        self._thread.start()
        try:
            self._async = self._run(_made(settings, owner, client))
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._run(self._async.close())
        self._stop()

    @property
    def catalog(self) -> Catalog:
        return self._async.catalog

    def submit(self, question: str | Query, **fields: Any) -> Submission:
        return self._run(self._async.submit(question, **fields))

    def submit_many(self, questions: Iterable[str | Query], **fields: Any) -> list[Submission | FlywheelError]:
        return self._run(self._async.submit_many(questions, **fields))

    def ask(self, question: str | Query, *, wait: float | None = None, **fields: Any) -> Answer:
        return self._run(self._async.ask(question, wait=wait, **fields))

    def wait(self, query_id: str, timeout: float | None = None) -> Answer:
        return self._run(self._async.wait(query_id, timeout))

    def stream(self, query_id: str, *, after: str = "-") -> Iterator[Event]:
        events = self._async.stream(query_id, after=after)
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            self._run(events.aclose())  # type: ignore[attr-defined]

    def status(self, query_id: str) -> Record:
        return self._run(self._async.status(query_id))

    def cancel(
        self, query_id: str | None = None, *, session_id: str | None = None, everything: bool = False
    ) -> dict[str, State]:
        return self._run(self._async.cancel(query_id, session_id=session_id, everything=everything))

    def score(self, query_id: str, value: bool | float | str, *, name: str = RATING, comment: str = "") -> Score:
        return self._run(self._async.score(query_id, value, name=name, comment=comment))

    def reroute(self, query_id: str, flow: str) -> Submission:
        return self._run(self._async.reroute(query_id, flow))

    def history(self, session_id: str, *, limit: int = 50) -> list[Turn]:
        return self._run(self._async.history(session_id, limit=limit))

    def use_profile(self, session_id: str, profile: str | None) -> Session:
        return self._run(self._async.use_profile(session_id, profile))

    def recent(self, *, limit: int = 20) -> list[Record]:
        return self._run(self._async.recent(limit=limit))

    def records(self, query_ids: Sequence[str]) -> list[Record | None]:
        return self._run(self._async.records(query_ids))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        self._loop.close()


async def _made(settings: Settings | None, owner: str, client: str) -> AsyncProducer:
    return AsyncProducer(settings, owner=owner, client=client)


async def _next(events: Any) -> Event | None:
    try:
        event: Event = await anext(events)
    except StopAsyncIteration:
        return None
    return event
