"""Tokens on their way from a flow to the query's event stream, in batches of time."""

from __future__ import annotations

import asyncio
import json
import logging

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.transitions import Execution, Transitions

logger = logging.getLogger(__name__)

#: Seconds for which tokens are gathered before they are written.
WINDOW = 0.05


class TokenStream:
    """Writes what is pushed, at most once per window. The worker never waits for it, nor for any reader."""

    def __init__(self, transitions: Transitions, execution: Execution) -> None:
        self._transitions = transitions
        self._execution = execution
        self._gathered: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def push(self, token: str) -> None:
        self._gathered.append(token)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self._write)

    async def close(self) -> None:
        """Write what is left, so that no token comes after the final event."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()
        if self._writing:
            await asyncio.gather(*self._writing)

    def discard(self) -> None:
        """Forget what was not written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        self._timer = None
        text, self._gathered = "".join(self._gathered), []
        data = {"text": text, "part": self._execution.part} if self._execution.part else {"text": text}
        task = asyncio.create_task(self._send(json.dumps(data)))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _send(self, data: str) -> None:
        try:
            await self._transitions.tokens(self._execution, data)
        except BrokerUnavailable:  # the whole answer will say it all
            logger.warning("tokens of query %s were not streamed: the broker is away", self._execution.query_id)
