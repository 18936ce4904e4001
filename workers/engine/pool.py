"""A Celery pool that runs coroutine tasks by the thousand on one asyncio loop, and plain ones in a few threads.

Two threads share the work. The *hub* (the worker's main thread) owns the broker connection and all of Celery's state:
requests, signals, results, acknowledgements, events. The *loop* only awaits the bodies of tasks. They hand jobs over
through two queues, and each is woken once for however many jobs there are.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.app.trace import _localized
from celery.concurrency.base import BasePool
from celery.exceptions import ImproperlyConfigured
from celery.utils import log as celery_log
from kombu.asynchronous import get_event_loop

from workers.engine.job import Fate, Job
from workers.engine.ledger import ledger
from workers.engine.link import BROKER_AWAY
from workers.engine.loops import shared_loop
from workers.engine.request import Request, tells_of_tasks
from workers.engine.task import Outcome
from workers.engine.threads import DaemonThreads
from workers.engine.tracer import TaskTracer

logger = logging.getLogger(__name__)

#: Objects more than before, and collections of the young, after which Python's collector looks for cycles.
COLLECTED_AFTER = (20_000, 10, 10)
#: Seconds after which hub and loop give way to each other: a busy loop delays what comes in and goes out by as much.
TURN = 0.001
#: Threads for tasks that are plain functions.
PLAIN_TASK_THREADS = 8
#: Seconds between looks at the limits and leases of a pool that drains.
DRAIN_STEP = 0.1
#: Seconds that a stopping worker tries to write what it still owes to a broker that is away.
LAST_WORDS = 3.0


class AsyncIOPool(BasePool):  # type: ignore[misc]
    """``worker_pool = "workers.engine.pool:AsyncIOPool"``."""

    body_can_be_buffer = True
    #: Nothing may be settled inside a signal's frame, which may have interrupted a settlement.
    signal_safe = False
    task_join_will_block = True
    #: ``Request`` callbacks run on the hub's thread, so acknowledgements need no other turn.
    reports_on_hub = True
    #: The consumer's bootstep that renews leases; set when it starts.
    leases: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit: int
        self._jobs: set[Job] = set()
        self._waiting: deque[Job] = deque()
        self._tracers: dict[str, TaskTracer | None] = {}
        self._to_loop: deque[Job] = deque()
        self._loop_told = False
        self._to_hub: deque[Job | Callable[[], None]] = deque()
        self._hub_told = False
        self._reported = threading.Event()
        self._pid = os.getpid()

    # Life

    def on_start(self) -> None:
        self._hub = get_event_loop()
        if self._hub is None:
            raise ImproperlyConfigured("the asyncio pool needs a broker with an event loop: Redis")
        self._grace: float | None = self.app.conf.get("flywheel_grace")
        self._loop = shared_loop.get().loop
        self._threads = DaemonThreads(PLAIN_TASK_THREADS)
        signals.worker_shutting_down.connect(self._on_shutting_down)
        signals.worker_process_init.send(sender=None)
        # What was imported stays, and queries leave few cycles: the collector took a sixth of a worker's time.
        gc.freeze()
        gc.set_threshold(*COLLECTED_AFTER)
        sys.setswitchinterval(TURN)

    def register_with_event_loop(self, loop: Any) -> None:
        self._hub = loop
        # A net: a turn of the hub that ended in an error may have dropped the call that was to drain.
        loop.on_tick.add(self._drain)

    def _on_shutting_down(self, **_: Any) -> None:
        # Sent from a signal's frame, where no lock may be taken: end the hub's wait, it looks at its flags then.
        if self._hub._waker is not None:
            self._hub._waker.wake()

    def on_stop(self) -> None:
        """Warm shutdown: let the tasks finish within the grace time, hand back those that do not."""
        if celery_log._in_sighandler:  # a cold shutdown, announced: it goes on in on_terminate
            return
        deadline = None if self._grace is None else time.monotonic() + self._grace
        while self._waiting:
            self._hand_back(self._waiting.popleft())
        while self._jobs and (deadline is None or time.monotonic() < deadline):
            self._reported.wait(DRAIN_STEP)
            self._reported.clear()
            self._drain_and_settle()
        self._end()

    def on_terminate(self) -> None:
        """Cold shutdown: what has finished counts, the rest is handed back at once."""
        while self._waiting:
            self._hand_back(self._waiting.popleft())
        self._end()

    def _end(self) -> None:
        self._drain()
        if self._jobs:
            logger.warning("%d tasks did not finish in time, they are handed back", len(self._jobs))
        for job in list(self._jobs):
            self._hand_back(job)
        deadline = time.monotonic() + LAST_WORDS
        while not (written := self._drain_and_settle()) and time.monotonic() < deadline:
            time.sleep(DRAIN_STEP)
        if not written:
            logger.error("the broker is away at the end: what was in hand comes again when its lease runs out")
        shared_loop.stop()
        self._drain()

    def _hand_back(self, job: Job) -> None:
        """Cancel a job and put its message back where other workers see it."""
        job.fate = Fate.HANDED_BACK
        job.cancel()
        job.request.reject(requeue=True)

    def _drain_and_settle(self) -> bool:
        """Take in what has finished, write what is owed, keep the leases. Return whether the broker was there."""
        self._drain()
        try:
            ledger.settle()
            if self.leases is not None:
                self.leases.renew_if_due()
        except BROKER_AWAY:
            return False
        return True

    # Hub: from a request to a running body

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
        """Run the task of one of Celery's own requests, or have it wait for a place."""
        # Celery gives the callbacks of a request; the request itself has its payload decoded already.
        job = Job(self, callback.__self__, self._tracer_of(args[0]), call=lambda: target(*args))
        return self._admit(job, soft_timeout, timeout)

    def take(self, request: Request) -> Job:
        """Run the coroutine task of one of our requests, or have it wait for a place."""
        task, (hard, soft) = request._task, request.time_limits
        job = Job(self, request, self._tracer_of(task.name))
        return self._admit(job, soft or task.soft_time_limit, hard or task.time_limit)

    def _admit(self, job: Job, soft_limit: float | None, hard_limit: float | None) -> Job:
        job.soft_limit = soft_limit or self.options.get("soft_timeout")
        job.hard_limit = hard_limit or self.options.get("timeout")
        if len(self._jobs) < self.limit:
            self._start(job)
        else:
            self._waiting.append(job)
        return job

    def _tracer_of(self, name: str) -> TaskTracer | None:
        """Return the tracer of a coroutine task, None for a plain one."""
        if name not in self._tracers:
            task = self.app.tasks[name]
            is_coroutine = getattr(task, "body", None) is not None
            self._tracers[name] = TaskTracer(task, self.app, _localized[2]) if is_coroutine else None
        return self._tracers[name]

    def _start(self, job: Job) -> None:
        self._jobs.add(job)
        request = job.request
        request.on_accepted(self._pid, time.monotonic())
        if job.fate is not Fate.NONE or request._already_revoked:
            self._release(job)
        elif job.tracer is None:
            self._threads.submit(partial(self._run_plain, job))
        else:
            self._start_coroutine(job, job.tracer)

    def _start_coroutine(self, job: Job, tracer: TaskTracer) -> None:
        request = job.request
        args, kwargs, embedded = request._payload
        fields = request.request_dict
        fields.update(embedded or (), args=args, kwargs=kwargs, hostname=tracer.hostname, is_eager=False)
        shown = tells_of_tasks(request.eventer)
        job.run = job.context.run(tracer.begin, request.id, args, kwargs, fields, shown=shown)
        if job.run.error is not None:
            self._finish(job)
            return
        self._to_loop.append(job)
        if not self._loop_told:
            self._loop_told = True
            self.on_loop(self._start_on_loop)

    def on_loop(self, call: Callable[[], Any]) -> None:
        """Have something called on the loop's thread."""
        self._loop.call_soon_threadsafe(call)

    def _start_on_loop(self) -> None:
        self._loop_told = False
        while self._to_loop:
            self._to_loop.popleft().start(self._loop)

    def _run_plain(self, job: Job) -> None:
        assert job.call is not None
        try:
            ended: Any = job.call()
        except Exception:
            ended = ExceptionInfo()
        except BaseException as error:
            ended = _as_failure(error)
        self.report(partial(self._finish_plain, job, ended))

    # Any thread: back to the hub

    def report(self, what: Job | Callable[[], None]) -> None:
        """Tell the hub that a job has ended, or what to call."""
        self._to_hub.append(what)
        if not self._hub_told:
            self._hub_told = True
            self._reported.set()
            self._hub.call_soon(self._drain)

    # Hub: from an ended body to its acknowledgement

    def _drain(self) -> None:
        self._hub_told = False
        while self._to_hub:
            what = self._to_hub.popleft()
            try:
                if isinstance(what, Job):
                    self._finish(what)
                else:
                    what()
            except Exception:
                logger.exception("a finished task could not be concluded")

    def _finish(self, job: Job) -> None:
        tracer, run = job.tracer, job.run
        assert tracer is not None
        assert run is not None
        outcome = job.outcome or Outcome()
        try:
            if self._is_void(job, outcome):
                job.context.run(tracer.abandon, run)
                return
            try:
                ended: Any = job.context.run(tracer.finish, run, outcome)
            except Exception:
                ended = ExceptionInfo()
        finally:
            self._release(job)
        self._conclude(job, ended)

    def _finish_plain(self, job: Job, ended: Any) -> None:
        self._release(job)
        if not self._is_void(job, Outcome()):
            self._conclude(job, ended)

    def _conclude(self, job: Job, ended: Any) -> None:
        """Report what a tracer returned, or the ExceptionInfo of what it raised."""
        request = job.request
        try:
            if isinstance(ended, ExceptionInfo):
                request.on_failure(ended)
            else:
                request.on_success(ended)
        except Exception:
            logger.exception("the end of %s could not be recorded: its lease runs out, it comes again", request)
            request.message.channel.qos._quick_ack(request.message.delivery_tag)

    def _is_void(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the end of a job no longer counts. One that was to stop but finished well still does."""
        if job.fate is Fate.TERMINATED:
            return bool(job.request._already_revoked) or outcome.error is not None
        return job.fate is not Fate.NONE

    def _release(self, job: Job) -> None:
        self._jobs.discard(job)
        while self._waiting and len(self._jobs) < self.limit:
            self._start(self._waiting.popleft())

    # Control

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """All jobs are in this process: Celery's request ends its own through ``Job.terminate``."""

    def grow(self, n: int) -> None:
        self.limit += n

    def shrink(self, n: int) -> None:
        self.limit = max(1, self.limit - n)

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), "active": len(self._jobs), "waiting": len(self._waiting)}


def _as_failure(error: BaseException) -> ExceptionInfo:
    """Return a task's SystemExit or KeyboardInterrupt as what it is here: the failure of that task."""
    try:
        raise RuntimeError(f"the task called for the end of the process: {error!r}") from error
    except RuntimeError:
        return ExceptionInfo()
