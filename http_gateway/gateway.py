"""What one gateway process has: the bridge's resources, who may come in, and how much of each owner is open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agentic_flywheel.access.grant import Grant
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.settings import Settings
from mcp_bridge.bridge import Bridge
from mcp_bridge.http import build_door
from mcp_bridge.limits import Open, Rates
from producer import AsyncProducer

#: The name of this program in records and traces.
CLIENT = "http"


class Gateway:
    """The resources behind all surfaces. Made on the loop that serves; ``open`` runs while it does."""

    def __init__(
        self,
        settings: Settings | None = None,
        tokens: Tokens | None = None,
        *,
        host: str = "127.0.0.1",
        allowed: Sequence[str] = (),
        changes: bool = False,
    ) -> None:
        """``settings``: None for the environment's, with the running stack's addresses. ``allowed``: further names
        under which clients may reach it. ``changes``: whether MCP tools may change what all share.

        Raises InvalidSetting where it would be open to the network without a token.
        """
        self.bridge = Bridge(settings, changes=changes)
        self.tokens = Tokens() if tokens is None else tokens
        self.allowed = tuple(allowed)
        self.mcp = build_door(self.bridge, self.tokens, host=host, allowed=allowed)
        self.rates = Rates(self.settings.http_rate)
        self.opened = Open("requests and streams", self.settings.http_open)

    @property
    def settings(self) -> Settings:
        """The settings in force, with the addresses of the stack that runs here."""
        return self.bridge.settings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve while the block runs; then close every connection. Queries under way go on."""
        async with self.mcp.open():
            try:
                yield
            finally:
                await self.bridge.close()

    def producer(self, asker: Asker, grant: Grant) -> AsyncProducer:
        """Return the producer of an asker who came with this grant."""
        return self.bridge.producer(asker, grant.limits, CLIENT)

    @property
    def catalog(self) -> Catalog:
        """The flow registry in force. Raises InvalidRegistry."""
        return self.bridge.producer(self.local).catalog

    @property
    def local(self) -> Asker:
        """Who calls where no token is needed."""
        return Asker(LOCAL)
