"""Run Flower: ``python -m producer.stack.flower [OPTIONS OF FLOWER]``.

It is told what it cannot know by itself: the queues of the registry, also before a worker has answered, and with which
certificates the broker is reached. It reads the environment as the other processes of a stack do.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from flower.api.tasks import GetQueueLengths
from flower.urls import handlers
from flower.views.broker import BrokerView
from redis.asyncio.connection import parse_url

from agentic_flywheel.broker import wire
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.settings import load_settings


class _Queues:
    """The names of all queues: what workers read now, and what the registry has, which may have changed."""

    def __init__(self, watch: CatalogWatch) -> None:
        self._watch = watch

    def __call__(self, read: list[str]) -> list[str]:
        domains = map(wire.domain_queue, self._watch.current().domains)
        ours = [band for base in (wire.CLASSIFY_QUEUE, *domains, wire.SYNTHESIS_QUEUE) for band in wire.bands(base)]
        return sorted({*ours, *read})


class _WholeQueues:
    """A broker of Flower's, which counts lists alone; this one counts what waits behind them, too."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    async def queues(self, names: list[str]) -> list[dict[str, Any]]:
        """Return the name of each queue and its number of messages. Raises redis' own errors."""
        async with self._broker.redis.pipeline() as pipe:
            for name in names:
                pipe.zcard(wire.backlog_key(name))
            behind = await pipe.execute()
        found = await self._broker.queues(names)  # closes the connection
        return [{**each, "messages": each["messages"] + more} for each, more in zip(found, behind, strict=True)]


def main() -> None:
    """Run until SIGTERM. Raises FlywheelError for a setting or registry that is not acceptable."""
    settings = load_settings()
    keep_log(settings)
    queues = _Queues(CatalogWatch(settings.registry))

    class Broker(BrokerView):  # type: ignore[misc]  # Flower has no types
        def get_active_queue_names(self) -> list[str]:
            return queues(super().get_active_queue_names())

        def get_broker(self) -> _WholeQueues:
            return _WholeQueues(super().get_broker())

    class Lengths(GetQueueLengths):  # type: ignore[misc]
        def get_active_queue_names(self) -> list[str]:
            return queues(super().get_active_queue_names())

        def get_broker(self) -> _WholeQueues:
            return _WholeQueues(super().get_broker())

    # The first that matches a path answers it.
    handlers[:0] = [(r"/broker", Broker), (r"/api/queues/length", Lengths)]
    app = Celery("flywheel", broker=settings.redis_url)
    # Without workers that answer, Flower names this one.
    app.conf.task_default_queue = wire.CLASSIFY_QUEUE
    if settings.redis_url.startswith("rediss://"):
        told = parse_url(settings.redis_url)
        app.conf.broker_use_ssl = {
            "ssl_cert_reqs": "required",
            **{name: value for name, value in told.items() if name.startswith("ssl_")},
        }
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    main()
