"""A worker's figures for Prometheus, where a port is set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer

if TYPE_CHECKING:
    from agentic_flywheel.figures.metrics import MetricsServer

logger = logging.getLogger(__name__)


async def serve_metrics(settings: Settings, batch: Batch, watch: CatalogWatch, tracer: Tracer) -> MetricsServer | None:
    """Serve the figures where the settings say. Returns None without a port, and where none can be had."""
    if settings.metrics_port is None:
        return None
    # Imported here: its library is of no use to other workers.
    from agentic_flywheel.figures.metrics import MetricsServer

    server, host = MetricsServer(batch, watch.current, tracer=tracer), settings.metrics_host
    try:
        bound = await server.start(settings.metrics_port, host=host)
    except OSError as refused:  # queries are answered without it
        logger.warning("no figures for Prometheus: %s", refused)
        return None
    logger.info("figures for Prometheus at http://%s:%d/metrics", host, bound)
    return server
