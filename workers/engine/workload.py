"""The tasks that a worker has taken: those that run, up to a limit, and those that wait for a place."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo

from workers.engine.at_work import at_work
from workers.engine.handover import Handover
from workers.engine.job import Fate, Job
from workers.engine.link import BROKER_AWAY
from workers.engine.request import tells_of_tasks
from workers.engine.task import BodyResult
from workers.engine.threads import DaemonThreads
from workers.engine.tracer import TaskTracer
from workers.engine.unreadable import reason_of

logger = logging.getLogger(__name__)

#: Number of threads for tasks that are plain functions.
PLAIN_TASK_THREADS = 8


class Workload:
    """Starts jobs and concludes them: result, acknowledgement, events. All on the hub's thread but ``_run_plain``."""

    def __init__(self, handover: Handover, limit: int) -> None:
        """``limit``: how many jobs may run at once."""
        self.running: set[Job] = set()
        self.waiting: deque[Job] = deque()
        self._limit = limit
        self._handover = handover
        self._threads = DaemonThreads(PLAIN_TASK_THREADS)
        self._pid = os.getpid()

    def admit(self, job: Job) -> None:
        """Start a job, or have it wait for a place."""
        if len(self.running) < self._limit:
            self._start(job)
        else:
            self.waiting.append(job)

    def hurries(self) -> bool:
        """Whether the place of a task that has ended may be wanted at once. Any thread may ask."""
        return at_work.is_full or bool(self.waiting) or 2 * len(self.running) >= self._limit

    def set_limit(self, limit: int) -> None:
        """Change how many jobs may run at once. Those that run go on."""
        self._limit = limit

    def hand_back_waiting(self) -> None:
        """Return the messages of all jobs that have not started."""
        while self.waiting:
            self._hand_back(self.waiting.popleft())

    def hand_back_running(self) -> None:
        """Cancel all jobs that run and return their messages."""
        for job in list(self.running):
            self._hand_back(job)

    def finish(self, job: Job) -> None:
        """Conclude a job whose coroutine has ended, and start the next one."""
        tracer, run = job.tracer, job.task_run
        assert tracer is not None
        assert run is not None
        result = job.body_result or BodyResult()
        try:
            if _is_void(job, result):
                job.context.run(tracer.abandon, run)
                return
            try:
                report: Any = job.context.run(tracer.finish, run, result)
            except Exception:
                report = ExceptionInfo()
        finally:
            self._release(job)
        self._conclude(job, report)

    def _hand_back(self, job: Job) -> None:
        job.fate = Fate.HANDED_BACK
        job.cancel()
        job.request.reject(requeue=True)

    def _start(self, job: Job) -> None:
        self.running.add(job)
        try:
            self._begin(job)
        except BROKER_AWAY:
            self._hand_back(job)
            self._release(job)
        except Exception:  # a task that cannot start is a task that fails: its place must be free again
            logger.exception("%s could not be started", job.request)
            report = ExceptionInfo()
            self._release(job)
            self._conclude(job, report)

    def _begin(self, job: Job) -> None:
        request = job.request
        request.on_accepted(self._pid, time.monotonic())
        if job.fate is not Fate.NONE or request._already_revoked:
            self._release(job)
        elif job.tracer is None:
            self._threads.submit(partial(self._run_plain, job))
        else:
            self._begin_coroutine(job, job.tracer)

    def _begin_coroutine(self, job: Job, tracer: TaskTracer) -> None:
        request = job.request
        args, kwargs, embedded = request._payload
        fields = request.request_dict
        fields.update(embedded or (), args=args, kwargs=kwargs, hostname=tracer.hostname, is_eager=False)
        shown = tells_of_tasks(request.eventer)
        job.task_run = job.context.run(tracer.begin, request.id, args, kwargs, fields, shown=shown)
        if job.task_run.error is not None:
            self.finish(job)
        else:
            self._handover.to_loop(job.start)

    def _run_plain(self, job: Job) -> None:
        """Run a plain function, in one of the threads for them."""
        assert job.call is not None
        try:
            report: Any = job.call()
        except Exception:
            report = ExceptionInfo()
        except BaseException as error:
            report = _as_failure(error)
        self._handover.to_hub(partial(self._finish_plain, job, report))

    def _finish_plain(self, job: Job, report: Any) -> None:
        self._release(job)
        if not _is_void(job, BodyResult()):
            self._conclude(job, report)

    def _conclude(self, job: Job, report: Any) -> None:
        """Give the request what its tracer returned, or the ExceptionInfo of what the tracer raised."""
        request = job.request
        try:
            if isinstance(report, ExceptionInfo):
                request.on_failure(report)
            else:
                request.on_success(report)
        except BROKER_AWAY:
            logger.exception("the end of %s could not be recorded; it runs again when its lease expires", request)
            request.message.channel.qos.forget(request.message.delivery_tag)
        except Exception as error:  # it would fail again in every worker
            logger.exception("the end of %s cannot be recorded", request)
            request.message.set_aside(f"the end of its task cannot be recorded: {reason_of(error)}")

    def _release(self, job: Job) -> None:
        self.running.discard(job)
        while self.waiting and len(self.running) < self._limit:
            self._start(self.waiting.popleft())


def _is_void(job: Job, result: BodyResult) -> bool:
    """Return whether the end of a job no longer counts. One that was to stop but succeeded before that counts."""
    if job.fate is Fate.TERMINATED:
        return bool(job.request._already_revoked) or result.error is not None
    return job.fate is not Fate.NONE


def _as_failure(error: BaseException) -> ExceptionInfo:
    """Return the SystemExit or KeyboardInterrupt of a task as a failure of that task."""
    try:
        raise RuntimeError(f"the task called for the end of the process: {error!r}") from error
    except RuntimeError:
        return ExceptionInfo()
