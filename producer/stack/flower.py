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

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.celery_forms import celery_settings
from agentic_flywheel.broker.clients import client_of
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.settings import load_settings

#: The priorities for which kombu keeps lists of their own, unless it is told others.
_PRIORITIES = (3, 6, 9)


class _Queues:
    """The names of all queues: what workers read now, and what the registry has, which may have changed."""

    def __init__(self, watch: CatalogWatch) -> None:
        self._watch = watch

    def __call__(self, read: list[str]) -> list[str]:
        domains = map(wire.domain_queue, self._watch.current().domains)
        ours = [band for base in (wire.CLASSIFY_QUEUE, *domains, wire.SYNTHESIS_QUEUE) for band in wire.bands(base)]
        return sorted({*ours, *read})


class _WholeQueues:
    """Counts the messages of queues. Flower's own counts lists alone, and reaches not every form of broker."""

    def __init__(self, address: str, prefix: str) -> None:
        self._address, self._prefix = address, prefix

    async def queues(self, names: list[str]) -> list[dict[str, Any]]:
        """Return the name of each queue and its number of messages. Raises redis' own errors."""
        client = client_of(self._address, prefix=self._prefix, seconds=2, connect_seconds=1)
        async with client, client.pipeline() as pipe:
            for name in names:
                pipe.llen(name)
                pipe.zcard(wire.backlog_key(name))
                for low in _PRIORITIES:
                    pipe.llen(f"{name}{wire.PRIORITY_MARK}{low}")
            counted = iter(await pipe.execute())
        each = 2 + len(_PRIORITIES)
        return [{"name": name, "messages": sum(next(counted) for _ in range(each))} for name in names]


def main() -> None:
    """Run until SIGTERM. Raises FlywheelError for a setting or registry that is not acceptable."""
    settings = load_settings()
    keep_log(settings)
    queues = _Queues(CatalogWatch(settings.registry))

    class Broker(BrokerView):  # type: ignore[misc]  # Flower has no types
        def get_active_queue_names(self) -> list[str]:
            return queues(super().get_active_queue_names())

        def get_broker(self) -> _WholeQueues:
            return _WholeQueues(settings.redis_url, settings.key_prefix)

    class Lengths(GetQueueLengths):  # type: ignore[misc]
        def get_active_queue_names(self) -> list[str]:
            return queues(super().get_active_queue_names())

        def get_broker(self) -> _WholeQueues:
            return _WholeQueues(settings.redis_url, settings.key_prefix)

    # The first that matches a path answers it.
    handlers[:0] = [(r"/broker", Broker), (r"/api/queues/length", Lengths)]
    app = Celery("flywheel")
    # Without workers that answer, Flower names this one.
    app.conf.update(celery_settings(settings.redis_url, settings.key_prefix), task_default_queue=wire.CLASSIFY_QUEUE)
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    main()
