"""Write what a flow tells while it runs to the query's event stream, many entries at a time."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import groupby
from typing import assert_never

from agentic_flywheel.backends.models import FlowNews
from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable
from agentic_flywheel.models import EventKind

logger = logging.getLogger(__name__)

#: Seconds for which news is collected before it is written.
WINDOW = 0.05


class Telling:
    """Writes the pushed news at most once in each ``WINDOW``. The call of the flow never waits for it."""

    def __init__(self, transitions: Transitions, execution: Execution) -> None:
        self._transitions = transitions
        self._execution = execution
        self._gathered: list[FlowNews] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def push(self, news: FlowNews) -> None:
        self._gathered.append(news)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self._write)

    async def close(self) -> None:
        """Write the remaining news, so that none follows the final event."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()
        if self._writing:
            await asyncio.gather(*self._writing)

    def discard(self) -> None:
        """Drop the news that was not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        self._timer = None
        gathered, self._gathered = _with_tokens_joined(self._gathered), []
        task = asyncio.create_task(self._send(gathered))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _send(self, gathered: list[FlowNews]) -> None:
        try:
            part = {"part": self._execution.part} if self._execution.part else {}
            data = [json.dumps({**news.data, **part}, ensure_ascii=False) for news in gathered]
            reply = await self._transitions.tell(self._execution, [news.kind for news in gathered], data)
            match reply:
                case scripts.TellWritten():
                    pass
                case scripts.TellLate():  # another worker streams this query now
                    self.discard()
                case _:
                    assert_never(reply)
        except (BrokerUnavailable, BrokerRefused):  # the final answer contains all of it
            logger.warning("news of query %s was not streamed: the broker does not take it", self._execution.query_id)


def _with_tokens_joined(gathered: list[FlowNews]) -> list[FlowNews]:
    """Return the news in its order, with the tokens that follow each other as one."""
    found: list[FlowNews] = []
    for kind, some in groupby(gathered, key=lambda news: news.kind):
        if kind is EventKind.TOKEN:
            found.append(FlowNews(kind, {"text": "".join(str(each.data["text"]) for each in some)}))
        else:
            found += some
    return found
