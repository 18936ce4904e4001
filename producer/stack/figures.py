"""The figures that ``flywheel up`` itself serves to Prometheus, for as long as its stack runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from agentic_flywheel.batch import Batch, connect
from agentic_flywheel.settings import Settings
from producer.stack.state import StackInfo

#: Under which name their address stands among those of the workers.
FIGURES_OF_STACK = "up"


@asynccontextmanager
async def serving_figures(settings: Settings, info: StackInfo) -> AsyncIterator[None]:
    """Serve them at the address that ``info`` tells; nothing where it tells none."""
    address = info.metrics_urls.get(FIGURES_OF_STACK)
    if address is None:
        yield
        return
    from agentic_flywheel.metrics import MetricsServer
    from agentic_flywheel.registry import CatalogWatch

    batch = Batch(connect(info.redis_url))
    server = MetricsServer(batch, CatalogWatch(settings.registry).current)
    await server.start(urlsplit(address).port or 0)
    try:
        yield
    finally:
        await server.close()
        await batch.close()
