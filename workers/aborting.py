"""Tell a flow's server, as well as that goes, that nobody waits for a call any more. Nobody waits for this either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

from pydantic import SecretStr

from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import chat_id
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlywheelError

#: Seconds that a server has to take note of one.
_WITHIN = 2.0
#: Calls that one worker aborts at once.
_AT_ONCE = 16


class Aborting:
    """Aborts calls, a few at a time."""

    def __init__(self, backends: Backends, batch: Batch, key_of: Callable[[Flow], SecretStr | None]) -> None:
        """``key_of``: returns the API key for a flow."""
        self._backends, self._batch, self._key_of = backends, batch, key_of
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def chats(self, flow: Flow, chats: Iterable[str]) -> None:
        """Abort the calls of these chats."""
        await asyncio.gather(*(self._abort(flow, chat) for chat in chats))

    async def stopped(self, flow: Flow, chat: str) -> None:
        """End a run that waits for a person, as well as its server can do that."""
        await self._abort(flow, chat, stopped=True)

    async def queries(self, query_ids: Sequence[str], catalog: Catalog) -> None:
        """Abort what was called for queries that have ended, unless others wait for it. Raises BrokerUnavailable."""
        await asyncio.gather(*(self._query(query_id, catalog) for query_id in query_ids))

    async def _query(self, query_id: str, catalog: Catalog) -> None:
        (calls, stops), followed = await asyncio.gather(
            self._batch.call("HMGET", wire.record_key(query_id), "calls", "stops"),
            self._batch.call("EXISTS", wire.followers_key(query_id), wire.inherits_key(query_id)),
        )
        if followed:
            return
        for call in (calls or "").splitlines():
            fence, key, _ = call.split(" ", 2)
            if key in catalog.flows:
                end = self.stopped if stops else self._abort
                await end(catalog.flows[key], chat_id(query_id, fence))

    async def _abort(self, flow: Flow, chat: str, *, stopped: bool = False) -> None:
        with contextlib.suppress(FlywheelError, TimeoutError):
            async with self._turn, asyncio.timeout(_WITHIN * (1 + stopped)):
                backend = self._backends.of(flow)
                await backend.abort(flow, chat, stopped=stopped, api_key=self._key_of(flow))
