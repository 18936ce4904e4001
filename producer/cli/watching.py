"""AnswerWatch a query's answer come, on a screen; where its flow asks a person, ask whoever sits there."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import typer

from agentic_flywheel.errors import InputRequired, WaitTimeout
from agentic_flywheel.models import Answer, Event, EventKind
from agentic_flywheel.stops import Decision
from producer.cli.doings import doing_now
from producer.cli.screen import Screen
from producer.client import AsyncProducer
from producer.submitting import Submission

#: What a person may type, and what it means; None: somebody decides later.
_WORDS: dict[str, Decision | None] = {"p": "proceed", "proceed": "proceed", "r": "reject", "reject": "reject"}
_WORDS |= {"l": None, "later": None}


class AnswerWatch:
    """One query, from its submission over any number of stops to its answer."""

    def __init__(self, screen: Screen, wait: timedelta | None) -> None:
        self.screen = screen
        self._limit = None if wait is None else wait.total_seconds()
        self._after, self._began = "-", time.monotonic()
        #: What of the answer stands on the screen already.
        self.shown = ""

    def begin(self) -> None:
        """Count the time from now on."""
        self._began = time.monotonic()

    @property
    def elapsed(self) -> timedelta:
        """The time since the beginning, without what a person took to decide."""
        return timedelta(seconds=time.monotonic() - self._began)

    async def answer_to(self, producer: AsyncProducer, submission: Submission) -> Answer:
        """Return the answer. Ctrl-C cancels the query. Raises what ``AsyncProducer.wait`` raises."""
        if submission.answer is not None:
            return submission.answer
        return await self._answer(producer, submission.query_id)

    async def answer_after(
        self, producer: AsyncProducer, asked: InputRequired, decision: Decision, feedback: str
    ) -> Answer:
        """Have the query go on with a decision, and return its answer as ``answer_to`` does."""
        await producer.resume(asked.query_id, decision, feedback=feedback or None, stop=asked.stop)
        return await self._answer(producer, asked.query_id)

    def decided(self, asked: InputRequired) -> tuple[Decision, str] | None:
        """Ask whoever sits at the terminal; return the decision and what is said to it. None where nobody decides."""
        self.screen.end_part()
        if self.screen.json or not sys.stdin.isatty():
            return None
        if self.shown.strip() != asked.asked:
            self.screen.line(asked.asked)
        began = time.monotonic()
        try:
            self.screen.note((f"The flow {asked.flow} has stopped and asks you.", "yellow"))
            while (word := typer.prompt("Proceed, reject, or later", err=True).strip().lower()) not in _WORDS:
                pass
            decision = _WORDS[word]
            return None if decision is None else (decision, typer.prompt("Say to it", default="", err=True))
        except typer.Abort:  # Ctrl-C here decides nothing
            return None
        finally:
            self._began += time.monotonic() - began
            self.shown = ""

    async def _answer(self, producer: AsyncProducer, query_id: str) -> Answer:
        try:
            async with asyncio.timeout(self._limit):
                if not self.screen.json:
                    await self._print(producer, query_id)
                return await producer.wait(query_id)
        except TimeoutError:
            self.screen.end_part()
            raise WaitTimeout(query_id, self._limit or 0.0) from None
        except asyncio.CancelledError:
            await producer.cancel(query_id)
            raise

    async def _print(self, producer: AsyncProducer, query_id: str) -> None:
        """Print the tokens as they come, until the query ends or asks."""
        async for event in producer.stream(query_id, after=self._after):
            self._after = event.id
            match event.kind:
                # The parts of several domains come mixed; they are shown together at the end.
                case EventKind.TOKEN if "part" not in event.data:
                    self.shown += str(event.data.get("text", ""))
                    self.screen.part(str(event.data.get("text", "")))
                case EventKind.STEP | EventKind.TOOL if now := doing_now(event):
                    self.screen.end_part()
                    self.screen.note((now, "dim"))
                case EventKind.RETRYING | EventKind.WAITING | EventKind.ATTACHED:
                    self.screen.end_part()
                    self.screen.note((_told(event), "dim"))
                    self.shown = "" if event.kind == EventKind.RETRYING else self.shown
                case EventKind.INPUT_REQUIRED:
                    if (await producer.status(query_id)).stops:
                        return
                    self.screen.end_part()
                    self.shown = ""


#: Takes what is asked, the decision, and what is said to the flow.
GoOn = Callable[[InputRequired, Decision, str], Coroutine[Any, Any, None]]


def with_decisions(watch: AnswerWatch, work: Coroutine[Any, Any, None], go_on: GoOn) -> None:
    """Run ``work``; each time a flow asks, ask a person and go on with the decision.

    Raises InputRequired where nobody decides, and what the work raises.
    """
    while True:
        try:
            return asyncio.run(work)
        except InputRequired as asked:
            decided = watch.decided(asked)
            if decided is None:
                raise
            work = go_on(asked, *decided)


def _told(event: Event) -> str:
    data = event.data
    if event.kind == EventKind.ATTACHED:
        return f"The same question is being answered already, as query {data.get('query_id')}; its answer is yours too."
    if event.kind == EventKind.WAITING:
        return f"Waiting: {data.get('reason', 'the flow takes no more now')}."
    then = f"flow {data['fallback']} is asked instead" if "fallback" in data else f"again in {data.get('delay_s')} s"
    return f"{data.get('error', 'The flow failed')}; {then}."
