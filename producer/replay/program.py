"""A replay as a program uses it: ``async for result in Replay("questions.jsonl", out="run")``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentic_flywheel.batch import Batch, connect
from agentic_flywheel.errors import FlywheelError, StackRunning, UnusableReplay
from agentic_flywheel.settings import Settings, load_settings
from producer.replay.folder import Folder
from producer.replay.ids import new_run_id
from producer.replay.plan import Options, Plan
from producer.replay.progress import Progress
from producer.replay.results import ItemResult
from producer.replay.run import Asks, DurableCall, Ending, Run
from producer.replay.sources import Objects, Source, read_source, source_named
from producer.replay.wanted import Wanted
from producer.stack.state import stack_settings

if TYPE_CHECKING:
    from producer.stack import Stack

#: Seconds after which the private stack of a killed process has certainly been cleared away.
_CLEARED_AWAY = 30.0


class Replay:
    """Asks many questions again and keeps what comes of them in a folder. Iterate over it to carry it out.

    Breaking off the iteration, a crash or a reboot lose nothing: ``Replay.resume(folder)`` goes on, and asks nothing
    again that has an answer.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Source | Objects,
        *,
        out: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        strict: bool = False,
        on_line: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> None:
        """Take the questions: a file, a replay's folder, a source's name, or the questions themselves.

        ``out`` is the folder, by default a new one in ``replays`` under the home; ``strict`` refuses a source with
        faulty lines; ``options`` are the fields of ``Options``; ``on_line`` hears of what a private stack does. Reads
        nothing yet.
        """
        self._settings = settings or load_settings()
        self.folder = Folder(Path(out) if out is not None else _new_folder(self._settings))
        self._source: Source | None = _source(source)
        self._strict = strict
        self._say = on_line
        self._changes: dict[str, Any] = {}
        self._options = Options(**options)
        self._run: Run | None = None

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        *,
        settings: Settings | None = None,
        on_line: Callable[[str], None] = lambda _: None,
        **changes: Any,
    ) -> Self:
        """Return the replay of a folder, to go on with. ``changes`` are options that are others from now on."""
        found = cls((), out=folder, settings=settings, on_line=on_line)
        found._source, found._changes = None, changes
        return found

    @property
    def progress(self) -> Progress | None:
        """How far it is; None before its questions are read."""
        return self._run.progress if self._run else None

    @property
    def ending(self) -> Ending | None:
        """Why it ended; None while it runs, and where it was broken off."""
        return self._run.ending if self._run else None

    async def __aiter__(self) -> AsyncGenerator[ItemResult, None]:
        """Yield each result once it is known. Those that an earlier process got are in the folder.

        Raises UnusableSource, UnusableReplay, InvalidRegistry, BrokerUnavailable, and what starting a private stack
        raises.
        """
        await self._reach_broker()
        with self.folder.locked():
            plan = await self._planned()
            self._run = run = Run(self.folder, plan)
            if plan.options.redrive and plan.begun:
                await self._remove_letters(plan)
            if run.progress.done >= run.progress.total:
                run.ending = "complete"
                return
            begun = plan.begun
            run.plan = self.folder.save(plan.model_copy(update={"begun": True}))
            async with (
                self._asking(run.plan, resumed=begun) as (asks, durable),
                aclosing(run.results(asks, durable=durable)) as results,
            ):
                async for result in results:
                    yield result

    async def _reach_broker(self) -> None:
        """Look for the broker before a million lines are read; one that goes away later is waited for.

        Raises BrokerUnavailable, UnusableReplay.
        """
        options = self._options if self._source is not None else self.folder.load().options
        if not (options.local or options.dry_run):
            batch = Batch(connect(stack_settings(self._settings).redis_url))
            try:
                await batch.call("PING")
            finally:
                await batch.close()

    async def _planned(self) -> Plan:
        if self._source is None:
            plan = self.folder.load()
            options = Options.model_validate({**plan.options.model_dump(), **self._changes})
            plan = self.folder.save(plan.model_copy(update={"options": options}))
            if plan.items is None:
                raise UnusableReplay(
                    str(self.folder.path),
                    "its questions were not read to their end: begin it anew, in the same folder if you like",
                )
            return plan
        if self.folder.taken and self.folder.load().items is not None:
            raise UnusableReplay(str(self.folder.path), "there is a replay in it already")
        plan = Plan(run_id=new_run_id(), source=self._source.title, options=self._options, created=datetime.now(UTC))
        self.folder.save(plan)
        try:
            return await self.folder.take_in(read_source(self._source, self._settings), plan, strict=self._strict)
        except FlywheelError:
            self.folder.abandon()
            raise

    async def _remove_letters(self, plan: Plan) -> None:
        """Do again what a process may not have come to: dead letters with a result leave the list."""
        from producer.replay.asking import Asker
        from producer.replay.results_file import read_results

        async with Asker(self._settings, plan, resumed=True) as asker:
            await asker.settled(list(read_results(self.folder.results_file)))

    @asynccontextmanager
    async def _asking(self, plan: Plan, *, resumed: bool) -> AsyncIterator[tuple[Asks, tuple[DurableCall, ...]]]:
        if plan.options.dry_run:
            # Imported where it is needed: the router's numerics take half a second.
            from producer.replay.classifying import Classifier

            yield Classifier(self._settings, plan.options.owner), ()
            return
        from producer.replay.asking import Asker

        if not plan.options.local:
            async with Asker(self._settings, plan, resumed=resumed) as asker:
                yield asker, (asker.settled,)
            return
        private = self._settings.model_copy(update={"home": self.folder.path / "stack"})
        async with AsyncExitStack() as opened:
            stack = await self._private_stack(opened, private)
            addresses = {"redis_url": stack.info.redis_url, "flowise_base_url": stack.info.flowise_url}
            asker = Asker(private.model_copy(update=addresses), plan, resumed=resumed)
            await opened.enter_async_context(asker)
            yield asker, (asker.settled,)

    async def _private_stack(self, opened: AsyncExitStack, settings: Settings) -> Stack:
        from producer.stack import start_stack

        give_up = time.monotonic() + _CLEARED_AWAY
        while True:
            try:
                return await opened.enter_async_context(
                    start_stack(settings, on_line=self._say, flower=False, private=True)
                )
            except StackRunning:
                # That of a process that was killed: its guard is still stopping it.
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.5)


def _source(given: str | os.PathLike[str] | Source | Objects) -> Source:
    if isinstance(given, Source):
        return given
    if isinstance(given, str):
        return source_named(given, Wanted())
    if isinstance(given, os.PathLike):
        return Source("file", os.fspath(given))
    return Source("objects", objects=given)


def _new_folder(settings: Settings) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = settings.home / "replays" / stamp
    number = 1
    while folder.exists():
        number += 1
        folder = settings.home / "replays" / f"{stamp}-{number}"
    return folder
