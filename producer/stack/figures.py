"""Serve the queues' and flows' figures to Prometheus from ``flywheel up`` while its stack runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo

#: The name of this address in ``StackInfo.metrics_urls``, beside the names of the workers.
FIGURES_OF_STACK = "up"


@asynccontextmanager
async def serving_figures(settings: Settings, info: StackInfo) -> AsyncIterator[None]:
    """Serve the figures at the address in ``info`` during the block; serve nothing where it has none."""
    address = info.metrics_urls.get(FIGURES_OF_STACK)
    if address is None:
        yield
        return
    from agentic_flywheel.figures.metrics import MetricsServer
    from agentic_flywheel.registry import CatalogWatch

    batch = Batch(connect(info.redis_url, prefix=info.key_prefix))
    server = MetricsServer(batch, CatalogWatch(settings.registry).current)
    await server.start(urlsplit(address).port or 0, host=settings.metrics_host)
    try:
        yield
    finally:
        await server.close()
        await batch.close()
