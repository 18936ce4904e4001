"""Run a replay: ask each item without an outcome, store its result, stop at the limit of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

from producer.replay.folder import Done, Folder
from producer.replay.items import ReplayItem
from producer.replay.journal import Journal, recover
from producer.replay.plan import Plan
from producer.replay.progress import Progress
from producer.replay.results import ItemResult
from producer.replay.turns import Turns

#: Why a replay ended: every item has an outcome, or no more calls were allowed.
Ending = Literal["complete", "calls"]


class Asks(Protocol):
    """Asks or routes an item and returns its result."""

    def ask_item(self, item: ReplayItem) -> Awaitable[ItemResult]: ...


class Run:
    """One process's share of a replay: ``async for result in run.results()``."""

    def __init__(self, folder: Folder, plan: Plan) -> None:
        """Look what has an outcome already. Raises UnusableReplay."""
        self.plan = plan
        self.folder = folder
        self.progress = Progress(plan.items or 0)
        self.ending: Ending | None = None
        self._done = Done()
        for fields in recover(folder.results_file):
            self.progress.found(fields)
            item = fields["item"]
            assert isinstance(item, dict)
            self._done.add(item["number"])

    async def results(self, asks: Asks, *, durable: Sequence[DurableCall] = ()) -> AsyncGenerator[ItemResult, None]:
        """Yield the results as they come, each of them kept. Ends when ``ending`` says why.

        What is under way when this is closed goes on, and its answer is found when the replay is resumed. Raises
        BrokerUnavailable, UnusableReplay.
        """

        async def tell(written: list[ItemResult]) -> None:
            for call in durable:
                await call(written)

        async with Journal(self.folder.results_file, tell) as journal:
            lanes = _Lanes(asks, Turns(self.folder.items(self._done)), self.plan, self.progress)
            try:
                while (result := await lanes.next_result()) is not None:
                    await journal.append(result)
                    self.progress.add(result)
                    yield result
            finally:
                await lanes.close()
        self.ending = "complete" if self.progress.done >= self.progress.total else "calls"
        if self.ending == "complete":
            self.plan = self.folder.save(self.plan.model_copy(update={"ended": datetime.now(UTC)}))


class DurableCall(Protocol):
    """Called with results once they are on disk."""

    def __call__(self, results: Sequence[ItemResult]) -> Awaitable[None]: ...


class _Lanes:
    """Keeps as many items under way as the options allow, and returns their results."""

    def __init__(self, asks: Asks, turns: Turns, plan: Plan, progress: Progress) -> None:
        self._asks = asks
        self._turns = turns
        self._options = plan.options
        self._progress = progress
        self._ended: asyncio.Queue[asyncio.Task[ItemResult]] = asyncio.Queue()
        self._under_way: dict[asyncio.Task[ItemResult], ReplayItem] = {}
        #: The earliest moment at which the rate lets the next item begin.
        self._next_at = time.monotonic()

    async def next_result(self) -> ItemResult | None:
        """Return the next outcome, whichever item's; None when nothing is under way and nothing may begin."""
        while True:
            wait = self._begin()
            if not self._under_way and wait is None:
                return None
            try:
                async with asyncio.timeout(wait):
                    task = await self._ended.get()
            except TimeoutError:
                continue
            item = self._under_way.pop(task)
            self._turns.ended(item)
            return task.result()

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _begin(self) -> float | None:
        """Begin what may begin. Returns the seconds until the rate lets the next one, None where it is not the rate."""
        while len(self._under_way) < self._options.concurrency and self._affordable():
            now = time.monotonic()
            if now < self._next_at:
                return self._next_at - now
            item = self._turns.next()
            if item is None:
                return None
            if self._options.rate:
                # Catch up at most 50 ms of timer lag, so that no burst follows a pause.
                self._next_at = max(self._next_at, now - 0.05) + 1 / self._options.rate
            task = asyncio.ensure_future(self._asks.ask_item(item))
            self._under_way[task] = item
            task.add_done_callback(self._ended.put_nowait)
        return None

    def _affordable(self) -> bool:
        """Whether one more call is allowed. Each item under way counts as one; a few cost more, and some nothing."""
        allowed = self._options.max_calls
        return allowed is None or self._progress.calls + len(self._under_way) < allowed
