"""Tell a flow's server, as well as that goes, that nobody waits for a call any more. Nobody waits for this either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import chat_id
from agentic_flywheel.broker.stops import StoppedRun, leave_run, left_runs, run_ended, stopped_runs
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.settings import Settings, key_of, server_of

#: Seconds that a server has to take note of one.
_WITHIN = 2.0
#: Calls that one worker aborts at once.
_AT_ONCE = 16
#: Seconds between two looks for stopped runs whose server was away.
_AGAIN = 5.0


class Aborting:
    """Aborts calls, a few at a time."""

    def __init__(self, backends: Backends, batch: Batch, settings: Settings) -> None:
        self._backends, self._batch, self._settings = backends, batch, settings
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def chats(self, flow: Flow, chats: Iterable[str]) -> None:
        """Abort the calls of these chats."""
        await asyncio.gather(*(self._abort(flow, chat) for chat in chats))

    async def stopped(self, flow: Flow, chat: str) -> None:
        """End a run that waits for a person, as well as its server can do that: as soon as it is there."""
        run = StoppedRun(chat, flow.id, server_of(flow, self._settings))
        await leave_run(self._batch, run)
        if await self._abort(flow, chat, stopped=True):
            await run_ended(self._batch, run)

    async def keep_ending(self, catalog: Callable[[], Catalog]) -> None:
        """End stopped runs whose server was away, for ever. Several workers may do so. Raises BrokerUnavailable."""
        while True:
            known = catalog()
            for run in await left_runs(self._batch, _AT_ONCE):
                if (flow := self._flow_of(run, None, known)) is not None:
                    await self.stopped(flow, run.chat)
            await asyncio.sleep(_AGAIN)

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
        called = [call.split(" ", 2) for call in (calls or "").splitlines()]
        runs = await stopped_runs(self._batch, query_id, {part for _, _, part in called}) if stops else []
        in_chats = {run.chat: run for run in runs}
        for fence, key, _ in called:
            chat, flow = chat_id(query_id, fence), catalog.flows.get(key)
            if chat in in_chats:
                flow = self._flow_of(in_chats[chat], flow, catalog)
            if flow is not None:
                await (self.stopped if stops else self._abort)(flow, chat)

    def _flow_of(self, run: StoppedRun, named: Flow | None, catalog: Catalog) -> Flow | None:
        """Return the flow of a run, also where the registry has removed it, or says of it something else by now.

        None where nobody here knows its server any more.
        """
        usual = Flow(key=run.flow_id, id=run.flow_id, domain=run.flow_id)
        for flow in (named or usual, usual, *catalog.flows.values()):
            if flow.backend == "flowise" and server_of(flow, self._settings) == run.server:
                # Whatever flow it is, it says what its server needs to be asked.
                return flow.model_copy(update={"id": run.flow_id})
        return None

    async def _abort(self, flow: Flow, chat: str, *, stopped: bool = False) -> bool:
        """Return whether its server has heard it, be it that it refused."""
        try:
            async with self._turn, asyncio.timeout(_WITHIN * (1 + stopped)):
                backend = self._backends.of(flow)
                await backend.abort(flow, chat, stopped=stopped, api_key=key_of(flow, self._settings))
        except TimeoutError:
            return False
        except FlywheelError as failed:
            return not failed.transient
        return True
