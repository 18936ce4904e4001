"""Brokers and workers for the engine's tests."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from processes import Valkey, Worker, start_worker

from agentic_flywheel.broker import wire

APP = "engine.engine_app"


class Station:
    """One database of a broker, a plain Celery client on it, and workers of the engine's app."""

    def __init__(self, valkey: Valkey, folder: Path, *, database: int = 0) -> None:
        self.url = valkey.url.replace("/0", f"/{database}")
        self.folder = folder
        self.redis = redis.Redis.from_url(self.url, decode_responses=True)
        self.client = Celery("client", broker=self.url, backend=self.url, set_as_current=False)
        self.client.conf.update(task_default_queue="celery", broker_connection_retry_on_startup=True)
        self.workers: list[Worker] = []

    def start(
        self,
        name: str = "worker",
        *,
        queues: str = "celery",
        concurrency: int = 100,
        options: Any = (),
        **settings: Any,
    ) -> Worker:
        settings = {"broker": self.url, "name": name, **settings}
        worker = start_worker(
            APP,
            log=self.folder / f"{name}.log",
            name=name,
            queues=queues,
            concurrency=concurrency,
            env={"ENGINE_APP": json.dumps(settings)},
            options=options,
        )
        self.workers.append(worker)
        return worker

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        return self.client.signature(f"{APP}.{name}", args, **options)

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.client.send_task(f"{APP}.{name}", args, **options)

    def marks(self, name: str) -> list[str]:
        marks: list[str] = self.redis.lrange(name, 0, -1)  # type: ignore[assignment]
        return marks

    def unacknowledged(self) -> int:
        return int(self.redis.hlen("flywheel:unacked"))

    def queued(self, queue: str = "celery") -> int:
        """Return how many messages wait in a queue: in its list, and behind it for their turn."""
        return int(self.redis.llen(queue)) + int(self.redis.zcard(wire.backlog_key(queue)))

    def close(self) -> None:
        """End the workers in order, so that coverage hears of them, but not patiently."""
        alive = [worker for worker in self.workers if worker.alive]
        for worker in alive:
            worker.send(signal.SIGQUIT)
        for worker in alive:
            with contextlib.suppress(AssertionError):
                worker.wait(within=3)
            worker.kill()
        self.client.backend.result_consumer.stop()
        self.client.backend.result_consumer.subscribed_to.clear()  # results collected later ask nobody any more
        self.client.close()
        self.redis.close()


@pytest.fixture
def station(valkey: Valkey, tmp_path: Path) -> Iterator[Station]:
    """A broker of its own, emptied."""
    station = Station(valkey, tmp_path, database=9)
    station.redis.flushdb()
    yield station
    station.close()
