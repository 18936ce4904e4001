"""Run Flower: ``python -m producer.stack.flower [OPTIONS OF FLOWER]``. Those that are given replace ours.

It is told what it cannot know by itself: the queues of the registry, also before a worker has answered, and with which
certificates the broker is reached. It reads the environment as the other processes of a stack do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

from celery import Celery

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.celery_forms import celery_settings
from agentic_flywheel.broker.clients import client_of
from agentic_flywheel.broker.starting import prepare, until_there
from agentic_flywheel.errors import CannotListen, FlywheelError, InvalidSetting
from agentic_flywheel.log_files import keep_log, tell
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.settings import Settings, load_settings

#: Number of tasks that Flower keeps in memory; seconds after which it removes a worker that is gone; the columns of its
#: list of queries, in which the result is what the answer is, or why there is none.
_OPTIONS = (
    "--max_tasks=20000",
    "--purge_offline_workers=60",
    "--tasks_columns=uuid,state,result,args,received,runtime,worker",
)
#: What Flower's inspector logs of each method to which no worker has replied.
_NO_ANSWER = "Inspect method %s failed"
#: Seconds after which it is said again that no worker answers.
_SAID_AGAIN = 60.0
#: The priorities for which kombu keeps lists of their own, unless it is told others.
_PRIORITIES = (3, 6, 9)


class _OnceAMinute(logging.Filter):
    """Lets one line a minute pass of those that Flower logs, four at each look, while no worker answers it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = str(record.msg), time.monotonic()
        if not kind.startswith("Inspect method"):
            return True
        if now - self._said.get(kind, -_SAID_AGAIN) < _SAID_AGAIN:
            return False
        self._said[kind] = now
        if kind == _NO_ANSWER:
            record.msg, record.args = "no worker has answered: none runs yet, or each is busy", ()
        return True


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
        async with client, client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(name)
                pipe.zcard(wire.backlog_key(name))
                for low in _PRIORITIES:
                    pipe.llen(f"{name}{wire.PRIORITY_MARK}{low}")
            counted = iter(await pipe.execute())
        each = 2 + len(_PRIORITIES)
        return [{"name": name, "messages": sum(next(counted) for _ in range(each))} for name in names]


def main() -> int:
    """Run until SIGTERM. Returns the exit status; 2 where a setting or the registry is not acceptable."""
    try:
        settings = load_settings()
        keep_log(settings)
        queues = _Queues(CatalogWatch(settings.registry))
        if settings.flower_basic_auth is None and not any("auth=" in given for given in sys.argv):
            reason = "it is not set: Flower needs a login, as user:password, for it shows and ends queries"
            raise InvalidSetting("FLOWER_BASIC_AUTH", reason)
        prepare(settings, tell)
        asyncio.run(until_there(settings, "Flower", tell))
        return _serve(settings, queues)
    except KeyboardInterrupt:
        return 130
    except FlywheelError as refused:
        sys.stderr.write(f"{refused.message}\n" + "".join(f"  - {each}\n" for each in refused.advice))
        return 2


def _serve(settings: Settings, queues: _Queues) -> int:
    """Run until SIGTERM. Returns the exit status. Raises CannotListen."""
    # They import tornado, which opens what variables of TLS name: the settings are read before.
    from flower.api.tasks import GetQueueLengths
    from flower.urls import handlers
    from flower.views.broker import BrokerView

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
    logging.getLogger("flower.inspector").addFilter(_OnceAMinute())
    app = Celery("flywheel")
    # Without workers that answer, Flower names this one.
    app.conf.update(celery_settings(settings.redis_url, settings.key_prefix), task_default_queue=wire.CLASSIFY_QUEUE)
    # Flower reads the variable as it stands, and then its options, which count more.
    login = settings.flower_basic_auth
    logins = [f"--basic_auth={login.get_secret_value()}"] if login else []
    try:
        return int(app.start(["flower", *_OPTIONS, *logins, *sys.argv[1:]]) or 0)
    except OSError as refused:
        raise CannotListen("Flower", refused.strerror or str(refused)) from None


if __name__ == "__main__":
    sys.exit(main())
