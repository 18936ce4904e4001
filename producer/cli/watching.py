"""Watch a query's answer come, on a screen; where its flow asks a person, ask whoever sits there."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Any, get_args

import typer

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import AlreadyDecided, InputRequired, InvalidDecision, NothingToDecide, WaitTimeout
from agentic_flywheel.models import Answer, Event, EventKind
from agentic_flywheel.stops import Decision
from agentic_flywheel.wait_words import wait_words
from producer.cli.doings import doing_now
from producer.cli.moments import when
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer
from producer.deciding import feedback_of
from producer.submitting import Submission

#: What a person may type, and what it means; None: somebody decides later.
_WORDS: dict[str, Decision | None] = {"p": "proceed", "proceed": "proceed", "r": "reject", "reject": "reject"}
_WORDS |= {"l": None, "later": None}

#: Seconds without a word of a query, after which it is said what one waits for.
_SILENT = 5.0
#: Events after which it was said already.
_SAYS_WHY = {EventKind.WAITING, EventKind.RETRYING, EventKind.ATTACHED, EventKind.INPUT_REQUIRED}


class AnswerWatch:
    """One query, from its submission over any number of stops to its answer."""

    def __init__(self, screen: Screen, wait: timedelta | None) -> None:
        self.screen = screen
        self._limit = None if wait is None else wait.total_seconds()
        self._after, self._began = "-", time.monotonic()
        #: What of the answer stands on the screen already.
        self.shown = ""
        #: The flow that is asked, or was at last; empty where none was.
        self.flow = ""
        #: What was said of its waiting since its flow last told something: an absent server is a reason several times a
        #: second.
        self._noted = set[str]()

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
        """Have the query go on with a decision, and return its answer as ``answer_to`` does.

        Where somebody else was quicker, that decision counts: what comes of it is shown all the same.
        """
        try:
            await producer.resume(asked.query_id, decision, feedback=feedback or None, stop=asked.stop)
        except (AlreadyDecided, NothingToDecide) as quicker:
            self.screen.note((f"{quicker.message}. Yours is not told to the flow.", "yellow"))
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
            with suppress(ImportError):  # without it, an arrow key types what it sends
                importlib.import_module("readline")
            until = f", until {when(datetime.fromisoformat(asked.until))}" if asked.until else ""
            self.screen.note((f"The flow {asked.flow} has stopped and asks you{until}.", "yellow"))
            decision = self._word(asked)
            if decision is None or not asked.takes_feedback:
                return None if decision is None else (decision, "")
            return decision, self._feedback()
        except typer.Abort:  # Ctrl-C here decides nothing
            return None
        finally:
            self._began += time.monotonic() - began
            self.shown = ""

    def _word(self, asked: InputRequired) -> Decision | None:
        """Ask until one of the words is typed that are known: ours, or the flow's own."""
        decisions: tuple[Decision, ...] = get_args(Decision)
        words = _WORDS | {asked.choices[each].lower(): each for each in decisions if each in asked.choices}
        proceed, reject = (one_line(asked.choices.get(each, each.capitalize()), 40) for each in decisions)
        while True:
            typed: str = typer.prompt(f"{proceed} (p), {reject} (r), or decide later (l)", err=True)
            if (word := typed.strip().lower()) in words:
                return words[word]
            self.screen.note(("Type p, r or l.", "yellow"))

    def _feedback(self) -> str:
        """Ask until what is typed can be told to the flow."""
        prompt = "Your message to the flow (Enter: none)"
        while True:
            text: str = typer.prompt(prompt, default="", show_default=False, err=True)
            try:
                return feedback_of(text)
            except InvalidDecision as refused:
                self.screen.note((f"This cannot be sent: {refused.reason}.", "yellow"))

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
        async with aclosing(self._events(producer, query_id)) as events:
            async for event in events:
                self._after = event.id
                if event.kind == EventKind.INPUT_REQUIRED and (await producer.status(query_id)).stops:
                    return
                self._show(event)

    def _show(self, event: Event) -> None:
        match event.kind:
            # The parts of several domains come mixed; they are shown together at the end.
            case EventKind.TOKEN if "part" not in event.data:
                self._noted.clear()
                self.shown += str(event.data.get("text", ""))
                self.screen.part(str(event.data.get("text", "")))
            case EventKind.STEP | EventKind.TOOL if now := doing_now(event):
                self.screen.end_part()
                self.screen.note((now, "dim"))
            case EventKind.RETRYING | EventKind.WAITING | EventKind.ATTACHED:
                self._note(event)
                self.shown = "" if event.voids else self.shown
            case EventKind.STARTED if event.voids and self.shown:
                self.screen.end_part()
                self.screen.note(("The call was cut, since its worker was lost; the flow is asked again.", "dim"))
                self.shown = ""
            case EventKind.INPUT_REQUIRED:
                self.screen.end_part()
                self.shown = ""

    async def _events(self, producer: AsyncProducer, query_id: str) -> AsyncGenerator[Event]:
        """Yield a query's events; where nothing is told for long, say what one waits for."""
        later = asyncio.get_running_loop().call_later
        silence = later(_SILENT, self._say_silent, None)
        try:
            async for event in producer.stream(query_id, after=self._after):
                silence.cancel()
                if event.kind == EventKind.STARTED:
                    self.flow = str(event.data.get("flow", ""))
                if event.kind not in _SAYS_WHY:
                    flow = producer.catalog.flows.get(self.flow) if self.flow else None
                    silence = later(_SILENT, self._say_silent, flow)
                yield event
        finally:
            silence.cancel()

    def _say_silent(self, flow: Flow | None) -> None:
        self.screen.end_part()
        bound = (
            f"; a call is cut after {flow.timeout.total_seconds():g} s (its `timeout` in the registry)" if flow else ""
        )
        if self.flow:
            said = f"{self.flow} has told nothing for {_SILENT:g} s: its model may be slow or away{bound}."
        else:
            said = f"No flow has been asked for {_SILENT:g} s; `flywheel health` shows the workers and what waits."
        self.screen.note((said, "dim"))

    def _note(self, event: Event) -> None:
        why, then = _told(event)
        if why not in self._noted:
            self._noted.add(why)
            self.screen.end_part()
            self.screen.note((f"{why}{then}.", "dim"))


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


def _told(event: Event) -> tuple[str, str]:
    """Return why the answer takes a while, and what need not be said each time."""
    data = event.data
    if event.kind == EventKind.ATTACHED:
        shared = f"The same question is being answered already, as query {data.get('query_id')}"
        return shared, "; its answer is yours too"
    if event.kind == EventKind.WAITING:
        return f"The query {wait_words(str(data.get('reason')))}", ""
    error = data.get("error", "The flow failed")
    if "fallback" in data:
        return f"{error}; flow {data['fallback']} is asked instead", ""
    return str(error), f"; again in {data.get('delay_s')} s"
