"""A replay as a program uses it: ``async for result in Replay("questions.jsonl", out="run")``."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.errors import FlywheelError, UnusableReplay
from agentic_flywheel.settings import Settings, load_settings
from agentic_flywheel.stack import stack_settings
from producer.replay.folder import Folder
from producer.replay.ids import new_run_id
from producer.replay.plan import Options, Plan
from producer.replay.progress import Progress
from producer.replay.results import ItemResult
from producer.replay.run import Asks, DurableCall, Ending, Run
from producer.replay.sources import Objects, Source, read_source, source_named
from producer.replay.wanted import Wanted

#: Runs a stack in the home of the given settings while its block runs, and gives the settings that lead to it. What it
#: has to tell a person goes to the function. ``producer.stack.private_stack`` is one.
RunsStack = Callable[[Settings, Callable[[str], None]], AbstractAsyncContextManager[Settings]]


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
        private_stack: RunsStack | None = None,
        **options: Any,
    ) -> None:
        """Take the questions: a file, a replay's folder, a source's name, or the questions themselves.

        ``out`` is the folder, by default a new one in ``replays`` under the home; ``strict`` refuses a source with
        faulty lines; ``options`` are the fields of ``Options``; ``on_line`` hears what was assumed of the source, and
        what a private stack does; ``private_stack`` runs that stack, and the option ``local`` needs it. Reads nothing
        yet.
        """
        self._settings = settings or load_settings()
        self.folder = Folder(Path(out) if out is not None else _new_folder(self._settings))
        self._source: Source | None = _source(source)
        self._strict = strict
        self._say = on_line
        self._private_stack = private_stack
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
        private_stack: RunsStack | None = None,
        **changes: Any,
    ) -> Self:
        """Return the replay of a folder, to go on with. ``changes`` are options that are others from now on."""
        found = cls((), out=folder, settings=settings, on_line=on_line, private_stack=private_stack)
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
        """Look for the broker, or for what starts one, before a million lines are read; one that goes away later is
        waited for.

        Raises BrokerUnavailable, UnusableReplay.
        """
        options = self._options if self._source is not None else self.folder.load().options
        if options.local:
            self._starter()
        if not (options.local or options.dry_run):
            here = stack_settings(self._settings)
            batch = Batch(connect(here.redis_url, prefix=here.key_prefix))
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
            reads = read_source(self._source, self._settings, plan.options.moves)
            return await self.folder.take_in(reads, plan, strict=self._strict, on_note=self._say)
        except FlywheelError:
            self.folder.abandon()
            raise

    async def _remove_letters(self, plan: Plan) -> None:
        """Do again what a process may not have come to: dead letters with a result leave the list."""
        from producer.replay.asking import QueueAsker
        from producer.replay.results_file import read_results

        async with QueueAsker(self._settings, plan, resumed=True) as asker:
            await asker.settled(list(read_results(self.folder.results_file)))

    @asynccontextmanager
    async def _asking(self, plan: Plan, *, resumed: bool) -> AsyncIterator[tuple[Asks, tuple[DurableCall, ...]]]:
        if plan.options.dry_run:
            # Imported where it is needed: the router's numerics take half a second.
            from producer.replay.classifying import Classifier

            yield Classifier(self._settings, plan.options.owner), ()
            return
        from producer.replay.asking import QueueAsker

        if not plan.options.local:
            async with QueueAsker(self._settings, plan, resumed=resumed) as asker:
                yield asker, (asker.settled,)
            return
        home = self._settings.model_copy(update={"home": self.folder.path / "stack"})
        async with (
            self._starter()(home, self._say) as private,
            QueueAsker(private, plan, resumed=resumed) as asker,
        ):
            yield asker, (asker.settled,)

    def _starter(self) -> RunsStack:
        if self._private_stack is None:
            raise UnusableReplay(
                str(self.folder.path),
                "it is asked on a private stack, and nothing was given that starts one: "
                "`Replay(…, private_stack=producer.stack.private_stack)`",
            )
        return self._private_stack


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
