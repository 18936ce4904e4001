"""Wait for a query, and tell the client how far it is meanwhile: also while it is queued, and with every token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import assert_never

import anyio

from agentic_flywheel.broker.events import read_events
from agentic_flywheel.doings import RUNNING
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError, QueryLost, QueryRemoved
from agentic_flywheel.models import Answer, Event, EventKind, WaitReason
from agentic_flywheel.wait_words import wait_words
from mcp_bridge.tool import Call
from mcp_bridge.views import shortened
from producer import AsyncProducer

#: Seconds between two reports at least; and at most, because a silent call trips the clients' idle timers.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 5.0

#: Characters of the name of a step, a tool or an artifact in a report.
_NAME = 60


async def await_answer(call: Call, query_id: str, wait_s: float) -> Answer | None:
    """Return the answer of a query of the caller; None when there is none after ``wait_s`` seconds, or never will be.

    Raises BrokerUnavailable.
    """
    async with _reporting(call, query_id):
        try:
            return await call.producer.wait(query_id, wait_s)
        except (BrokerUnavailable, QueryLost, QueryRemoved):
            raise
        except FlywheelError:  # the wait is over, or the query ended with an error, which its record tells in full
            return None


async def partial_answer(producer: AsyncProducer, query_id: str) -> str:
    """Return what a query's flow has said so far."""
    events = await read_events(producer.batch, query_id)
    return "".join(_token(event) for event in events if event.kind == EventKind.TOKEN and "part" not in event.data)


class Story:
    """What is known of a query under way, in one sentence."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._flow = ""
        self._said = self._sources = 0
        self.sentence = "queued"

    def note(self, event: Event) -> None:
        """Take an event into account."""
        data = event.data
        if event.voids:
            self._said = 0
        match event.kind:
            case EventKind.ROUTED:
                self._flow = str(data.get("flow", ""))
                confidence = data.get("confidence")
                sure = f" ({confidence:.0%})" if isinstance(confidence, float | int) else ""
                self.sentence = f"goes to {self._flow}{sure}, queued there"
            case EventKind.STARTED:
                self._flow = str(data.get("flow") or self._flow)
                self.sentence = f"{self._flow or 'the flow'} is answering"
            case EventKind.TOKEN:
                self._said += len(_token(event))
                self.sentence = f"{self._flow or 'the flow'} is answering: {self._said} characters so far"
            case EventKind.STEP | EventKind.TOOL | EventKind.SOURCE | EventKind.ARTIFACT | EventKind.USAGE:
                self._note_doing(event)
            case EventKind.ATTACHED:
                self.sentence = wait_words(WaitReason.ATTACHED)
            case EventKind.RETRYING:
                self.sentence = wait_words(WaitReason.RETRY)
            case EventKind.WAITING:
                self.sentence = wait_words(str(data.get("reason")))
            case EventKind.INPUT_REQUIRED:
                asked = f": {shortened(' '.join(str(data['text']).split()))}" if "text" in data else ""
                self.sentence = f"its flow has stopped and asks a person{asked}"
            case EventKind.DECIDED:
                self.sentence = f"decided: {data.get('decision', '')}; goes on"
            case EventKind.FINAL:
                self.sentence = f"ended: {data.get('state', 'done')}"
            case _:
                assert_never(event.kind)
        self.changed.set()

    def _note_doing(self, event: Event) -> None:
        """Take into account what the flow does; how many tokens it used is told with the answer."""
        data, flow = event.data, self._flow or "the flow"
        name = shortened(" ".join(str(data.get("name", "")).split()), _NAME)
        match event.kind:
            case EventKind.STEP if data.get("status") == RUNNING:
                self.sentence = f"{flow} is at its step {name}"
            case EventKind.TOOL if data.get("status") == RUNNING:
                self.sentence = f"{flow} uses the tool {name}"
            case EventKind.SOURCE if "source" in data:
                self._sources += 1
                self.sentence = f"{flow} has found {self._sources} source{'s' if self._sources > 1 else ''}"
            case EventKind.ARTIFACT if name:
                self.sentence = f"{flow} has made {name}"


@asynccontextmanager
async def _reporting(call: Call, query_id: str) -> AsyncIterator[None]:
    if call.progress is None:
        yield
        return
    story = Story()
    reader = asyncio.create_task(_read(call.producer, query_id, story))
    teller = asyncio.create_task(_tell(call, story))
    try:
        yield
    finally:
        reader.cancel()
        teller.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(reader, teller, return_exceptions=True)


async def _read(producer: AsyncProducer, query_id: str, story: Story) -> None:
    # What goes wrong here goes wrong for the waiting call too, and that says so.
    with suppress(FlywheelError):
        async for event in producer.stream(query_id):
            story.note(event)


async def _tell(call: Call, story: Story) -> None:
    assert call.progress is not None
    pause = SHORTEST_PAUSE  # a query that is followed later has come further
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await story.changed.wait()
        story.changed.clear()
        await call.progress(call.elapsed, None, story.sentence)
        await asyncio.sleep(SHORTEST_PAUSE)
        pause = LONGEST_PAUSE - SHORTEST_PAUSE


def _token(event: Event) -> str:
    text = event.data.get("text")
    return text if isinstance(text, str) else ""
