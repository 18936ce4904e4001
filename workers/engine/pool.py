"""A Celery pool that runs coroutine tasks by the thousand on one asyncio loop, and plain ones in a few threads.

Two threads share the work. The *hub* is the worker's main thread: it owns the broker connection and all of Celery's
state, that is requests, signals, results, acknowledgements and events. The *loop* only awaits the bodies of tasks.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.app.trace import _localized
from celery.concurrency.base import BasePool
from celery.exceptions import ImproperlyConfigured
from celery.utils import log as celery_log
from kombu.asynchronous import get_event_loop

from workers.engine.handover import Handover
from workers.engine.huge_pages import gather_in_background
from workers.engine.job import Job
from workers.engine.ledger import ledger, write_what_is_there
from workers.engine.link import BROKER_AWAY
from workers.engine.loops import shared_loop
from workers.engine.request import CoroutineRequest
from workers.engine.tracer import TaskTracer
from workers.engine.workload import Workload

logger = logging.getLogger(__name__)

#: The thresholds of Python's cycle collector: number of new objects, then of collections of each younger generation.
COLLECTED_AFTER = (20_000, 10, 10)
#: Seconds after which a thread gives way to the other. A busy loop delays what the hub takes and writes by as much.
THREAD_TURN = 0.001
#: Seconds between looks at leases and limits while a stopping worker waits for its tasks.
DRAIN_STEP = 0.1
#: Seconds for which a stopping worker tries to write its ledger to a broker that does not answer.
LAST_ATTEMPTS = 3.0


class AsyncIOPool(BasePool):  # type: ignore[misc]
    """Celery's setting is ``worker_pool = "workers.engine.pool:AsyncIOPool"``."""

    body_can_be_buffer = True
    #: Celery must not stop this pool inside of a signal handler: it may have interrupted the writing of the ledger.
    signal_safe = False
    task_join_will_block = True
    #: The consumer's step that renews leases. It registers itself here when the consumer starts.
    leases: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit: int
        self._tracers: dict[str, TaskTracer | None] = {}

    # Celery's interface

    def on_start(self) -> None:
        """Start the loop. Raises ImproperlyConfigured without an event loop of kombu's."""
        hub = get_event_loop()
        if hub is None:
            raise ImproperlyConfigured("the asyncio pool needs a broker with an event loop: Redis")
        self._hub = hub
        self._grace: float | None = self.app.conf.get("flywheel_grace")
        self.handover = Handover(hub, shared_loop.get().loop, after_gathered=write_what_is_there)
        self._workload = Workload(self.handover, self.limit)
        signals.worker_shutting_down.connect(self._on_shutting_down)
        signals.worker_process_init.send(sender=None)
        # What is imported stays, and queries leave few cycles: the collector took a sixth of a worker's time.
        gc.freeze()
        gc.set_threshold(*COLLECTED_AFTER)
        sys.setswitchinterval(THREAD_TURN)
        gather_in_background()

    def register_with_event_loop(self, loop: Any) -> None:
        """Have the hub conclude ended tasks in each turn: an error in a turn may drop the call that was to do it."""
        loop.on_tick.add(self.handover.run_on_hub)

    def on_stop(self) -> None:
        """Warm shutdown: let tasks finish within the grace time, then hand back those that have not."""
        if celery_log._in_sighandler:  # the announcement of a cold shutdown, which calls on_terminate
            return
        deadline = None if self._grace is None else time.monotonic() + self._grace
        self._workload.hand_back_waiting()
        while self._workload.running and (deadline is None or time.monotonic() < deadline):
            self.handover.wait(DRAIN_STEP)
            self._drain()
        self._end()

    def on_terminate(self) -> None:
        """Cold shutdown: record what has finished, hand back the rest at once."""
        self._workload.hand_back_waiting()
        self._end()

    def apply_async(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Job:
        """Run the task of one of Celery's own requests, or have it wait for a place. Limits are seconds."""
        # Celery gives methods of the request as callbacks. The request itself has decoded the message already.
        return self._admit(callback.__self__, args[0], soft_timeout, timeout, call=lambda: target(*args))

    def take(self, request: CoroutineRequest) -> Job:
        """Run the task of one of our requests, or have it wait for a place."""
        task, (hard, soft) = request._task, request.time_limits
        return self._admit(request, task.name, soft or task.soft_time_limit, hard or task.time_limit)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: all jobs are in this process, and a request terminates its own by ``Job.terminate``."""

    def grow(self, n: int) -> None:
        """Allow so many more jobs at once."""
        self.limit += n
        self._workload.set_limit(self.limit)

    def shrink(self, n: int) -> None:
        """Allow so many fewer jobs at once, but at least one."""
        self.limit = max(1, self.limit - n)
        self._workload.set_limit(self.limit)

    def _get_info(self) -> dict[str, Any]:
        workload = self._workload
        return {**super()._get_info(), "active": len(workload.running), "waiting": len(workload.waiting)}

    # Our own

    def _admit(
        self, request: Any, name: str, soft: float | None, hard: float | None, *, call: Callable[[], Any] | None = None
    ) -> Job:
        if getattr(request.task, "honours_times", False):  # also against limits that remote control sets
            soft = hard = None
        else:
            soft, hard = soft or self.options.get("soft_timeout"), hard or self.options.get("timeout")
        job = Job(
            request,
            self._tracer_of(name),
            handover=self.handover,
            on_end=self._workload.finish,
            hurries=self._workload.hurries,
            call=call,
            soft_limit=soft,
            hard_limit=hard,
        )
        self._workload.admit(job)
        return job

    def _tracer_of(self, name: str) -> TaskTracer | None:
        """Return the tracer of a coroutine task, None for a plain one."""
        if name not in self._tracers:
            task = self.app.tasks[name]
            is_coroutine = getattr(task, "body", None) is not None
            self._tracers[name] = TaskTracer(task, self.app, _localized[2]) if is_coroutine else None
        return self._tracers[name]

    def _on_shutting_down(self, **_: Any) -> None:
        # Sent by a signal handler, which must not take locks. The hub stops waiting and looks at its flags.
        if self._hub._waker is not None:
            self._hub._waker.wake()

    def _drain(self) -> bool:
        """Conclude what has ended, write the ledger, renew the leases. Return whether all could be written."""
        self.handover.run_all_on_hub()
        try:
            ledger.settle()
            if self.leases is not None:
                self.leases.renew_if_due()
        except BROKER_AWAY:
            return False
        except Exception:
            logger.exception("the ledger could not be written; it is tried again")
            return False
        return True

    def _end(self) -> None:
        self.handover.run_all_on_hub()
        if self._workload.running:
            logger.warning("%d tasks did not finish in time and are handed back", len(self._workload.running))
        self._workload.hand_back_running()
        deadline = time.monotonic() + LAST_ATTEMPTS
        while not (written := self._drain()) and time.monotonic() < deadline:
            time.sleep(DRAIN_STEP)
        if not written:
            logger.error("the broker does not answer; unfinished messages go back when their leases expire")
        shared_loop.stop()
        self.handover.run_all_on_hub()
