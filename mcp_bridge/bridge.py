"""What one bridge process has open: connections to the broker and to the flows' servers, each asker's producer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.given import asker_of
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import PLACES, stack_settings
from producer import AsyncProducer
from producer.connections import SUBMIT_PATIENCE

if TYPE_CHECKING:
    from agentic_flywheel.backends.opened import Backends
    from agentic_flywheel.routing import FittedRouter, RouterSlot

#: Producers that are kept, one for each asker; with one more, all are made again.
MAX_TWINS = 1000


class Bridge:
    """The resources behind all tools. Made and closed on the loop that serves the clients."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        changes: bool = False,
        tools: str | None = None,
        user: str | None = None,
        files: Path | None = None,
    ) -> None:
        """``settings``: None for the environment's, with the running stack's addresses. ``changes``: whether tools
        may change what all share. ``tools``: the groups and names of those to offer; None for the setting. ``user``:
        for whom a client without a token asks. ``files``: below which folder its files are read. Nothing is connected
        yet. Raises InvalidSetting, InvalidQuery.
        """
        self.changes, self.files = changes, files
        #: Who calls without a token.
        self.local = asker_of(LOCAL, user)
        self._tools = tools
        self._given = settings
        self._root = AsyncProducer(settings, client="mcp", patience=SUBMIT_PATIENCE)
        self._twins: dict[tuple[Asker, OwnLimits | None, str], AsyncProducer] = {}
        self._backends: Backends | None = None
        self._slot: RouterSlot | None = None
        self._fitting = asyncio.Lock()
        self._fitted = ""
        #: What goes on beside the calls, and the id of the token for which it does.
        self._background: dict[asyncio.Task[None], str] = {}
        self._closed = False

    @property
    def settings(self) -> Settings:
        """The settings in force, with the addresses of the stack that runs here."""
        return self._root.settings

    @property
    def tools(self) -> str:
        """The groups and names of the tools to offer."""
        return self.settings.mcp_tools if self._tools is None else self._tools

    def producer(self, asker: Asker, limits: OwnLimits | None = None, client: str = "mcp") -> AsyncProducer:
        """Return the producer of an asker. ``limits``: those of the token with which the asker came."""
        key = (asker, limits, client)
        if key not in self._twins:
            if len(self._twins) >= MAX_TWINS:
                self._twins.clear()
            self._twins[key] = self._root.acting_for(*asker, limits=limits, client=client)
        return self._twins[key]

    async def moved(self) -> bool:
        """Return whether the stack is somewhere else than before, and use it there from now on.

        A client starts its bridge when it starts itself, often before the stack; and a stack may come back elsewhere.
        """
        found = stack_settings(self._given)
        if all(getattr(found, name) == getattr(self.settings, name) for name in PLACES):
            return False
        old, backends = self._root, self._backends
        self._root = AsyncProducer(self._given, client="mcp", patience=SUBMIT_PATIENCE)
        self._twins, self._backends = {}, None
        await old.close()
        if backends is not None:
            await backends.close()
        return True

    @property
    def backends(self) -> Backends:
        """The backends of the flows."""
        if self._backends is None:
            # Imported when it is needed: a client waits for its bridge to start, and most never ask for this.
            from agentic_flywheel.backends.opened import Backends

            self._backends = Backends(self.settings, lambda: self._root.catalog)
        return self._backends

    async def router(self) -> FittedRouter:
        """Return a router of the catalog in force. Raises InvalidRegistry."""
        catalog = self._root.catalog
        async with self._fitting:
            if self._slot is None:
                from agentic_flywheel.routing import RouterSlot, strong_encoder

                home = self.settings.home
                cache = home / "routers" if home.exists() else None
                self._slot = await asyncio.to_thread(RouterSlot, catalog, stronger=strong_encoder, cache_dir=cache)
                self._fitted = catalog.revision
        if self._fitted != catalog.revision:
            self._fitted = catalog.revision
            self._slot.refit(catalog)
            await asyncio.to_thread(self._slot.wait, 10)
        return self._slot.current

    def keep(self, task: asyncio.Task[None], token_id: str = "") -> None:
        """Hold a task that goes on beside the calls; it ends with the bridge, or with its token."""
        self._background[task] = token_id
        task.add_done_callback(lambda done: self._background.pop(done, None))

    def end_for(self, token_id: str) -> None:
        """End what goes on beside the calls for a token that lets nobody in any more."""
        for task, its in list(self._background.items()):
            if token_id and its == token_id:
                task.cancel()

    async def close(self) -> None:
        """End what goes on and close every connection, once. Queries under way go on."""
        if self._closed:
            return
        self._closed = True
        running = list(self._background)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._backends is not None:
            await self._backends.close()
        await self._root.close()
