"""What one bridge process has open: connections to the broker and to Flowise, the router, each owner's producer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.stack.state import stack_settings

if TYPE_CHECKING:
    from agentic_flywheel.flowise import FlowiseClient
    from agentic_flywheel.routing import FittedRouter, RouterSlot


class Bridge:
    """The resources behind all tools. Made and closed on the loop that serves the clients."""

    def __init__(self, settings: Settings | None = None, *, changes: bool = True) -> None:
        """``settings``: None for the environment's, with the running stack's addresses. ``changes``: whether tools
        may change what all share. Nothing is connected yet. Raises InvalidSetting.
        """
        self.changes = changes
        self._given = settings
        self._root = AsyncProducer(settings, client="mcp")
        self._twins: dict[str, AsyncProducer] = {}
        self._flowise: FlowiseClient | None = None
        self._slot: RouterSlot | None = None
        self._fitting = asyncio.Lock()
        self._fitted = ""
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def settings(self) -> Settings:
        """The settings in force, with the addresses of the stack that runs here."""
        return self._root.settings

    def producer(self, owner: str) -> AsyncProducer:
        """Return the producer of an owner."""
        if owner not in self._twins:
            self._twins[owner] = self._root.acting_for(owner)
        return self._twins[owner]

    async def moved(self) -> bool:
        """Return whether the stack is somewhere else than before, and use it there from now on.

        A client starts its bridge when it starts itself, often before the stack; and a stack may come back elsewhere.
        """
        found = stack_settings(self._given)
        if (found.redis_url, found.flowise_base_url) == (self.settings.redis_url, self.settings.flowise_base_url):
            return False
        old, flowise = self._root, self._flowise
        self._root, self._twins, self._flowise = AsyncProducer(self._given, client="mcp"), {}, None
        await old.close()
        if flowise is not None:
            await flowise.close()
        return True

    @property
    def flowise(self) -> FlowiseClient | None:
        """The client of the Flowise in use; None where none is known."""
        if self._flowise is None and self.settings.flowise_base_url is not None:
            # Imported when it is needed: a client waits for its bridge to start, and most never ask for this.
            from agentic_flywheel.flowise import FlowiseClient

            self._flowise = FlowiseClient(self.settings.flowise_base_url)
        return self._flowise

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

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task that goes on beside the calls; it ends with the bridge."""
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End what goes on and close every connection, once. Queries under way go on."""
        if self._closed:
            return
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._flowise is not None:
            await self._flowise.close()
        await self._root.close()
