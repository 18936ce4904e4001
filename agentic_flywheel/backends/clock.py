"""The clock of one call: when it is cut, and what was measured."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import aiohttp

from agentic_flywheel.errors import FlowError, FlowTimeout
from agentic_flywheel.time_limit import TimeLimit

#: Seconds that a settled stream may take to close, so that its connection can be used again.
DRAIN_TIMEOUT = 0.2


class CallClock:
    """Measures a call and cuts it: the call runs within ``limit``, and says when it hears something."""

    def __init__(self, flow: str, timeout: float, idle_timeout: float) -> None:
        """``timeout``: seconds of the whole call; ``idle_timeout``: of silence after an answer has begun."""
        self._flow = flow
        self._timeout, self._idle_timeout = timeout, idle_timeout
        self.loop = loop = asyncio.get_running_loop()
        self._now = loop.time
        self._started = self._now()
        self._first_token: float | None = None
        self._settled: float | None = None
        self._ended_by: FlowError | None = None
        #: Whether anything came.
        self.has_heard = False
        self.limit = TimeLimit(loop, self._started + timeout)

    @property
    def late(self) -> FlowError:
        """The error of a call that was cut now."""
        if self._ended_by is not None:
            return self._ended_by
        if self._now() < self._started + self._timeout:
            return FlowTimeout(self._flow, self._idle_timeout, silent=True)
        return FlowTimeout(self._flow, self._timeout)

    def end(self, error: FlowError) -> None:
        """Cut the call, since nothing can come any more."""
        self._ended_by = error
        self.limit.reschedule(self._now())

    def heard(self) -> None:
        """Something came. Before it a flow may think for its whole time; from now on it may pause for less."""
        self.has_heard = True
        self.limit.reschedule(min(self._started + self._timeout, self._now() + self._idle_timeout))

    def token(self) -> None:
        """A part of the answer's text came."""
        if self._first_token is None:
            self._first_token = self._now()

    def stop(self) -> None:
        """The answer is there: what may still come is not waited for as it was."""
        if self._settled is None:
            self._settled = self._now()
        self.limit.reschedule(None)

    async def settle(self, response: aiohttp.ClientResponse) -> None:
        """The answer is there: only its connection is at stake. Read what is left, for a moment."""
        self.stop()
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                async for _ in response.content.iter_any():
                    pass

    @property
    def elapsed(self) -> timedelta:
        """From sending to the end of the answer."""
        return timedelta(seconds=(self._settled or self._now()) - self._started)

    @property
    def first_token(self) -> timedelta | None:
        """From sending to the first part of a text; None where none came."""
        return None if self._first_token is None else timedelta(seconds=self._first_token - self._started)
