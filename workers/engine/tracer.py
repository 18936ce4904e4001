"""Celery's ``trace_task`` for coroutine tasks, in two halves: one before the body of the task runs, one after it.

``begin`` does what comes before the body (request, signals, STARTED, ``before_start``), ``finish`` what comes after it
(retry, ignore, reject, failure, callbacks, chain, chord, result, signals). Both run in the task's own context, on the
thread that owns the broker connection. The body runs between them, on the loop. The order of the steps and the
treatment of each error are those of ``celery.app.trace.build_tracer`` in Celery 5.7.0. Left out is the deduplication of
successful tasks (``worker_deduplicate_successful_tasks``).
"""

from __future__ import annotations

import logging
import os
from time import monotonic
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery import Task, group, signals, states
from celery._state import _task_stack
from celery.app.task import Context, get_actual_ignore_result
from celery.app.trace import (
    FAILURE,
    IGNORED,
    LOG_SUCCESS,
    REJECTED,
    RETRY,
    TraceInfo,
    _signal_internal_error,
    get_task_name,
    report_internal_error,
    task_has_custom,
    traceback_clear,
)
from celery.canvas import maybe_signature
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry
from celery.utils.saferepr import saferepr
from kombu.exceptions import EncodeError

from workers.engine.link import BROKER_AWAY
from workers.engine.task import BodyResult, replay_next

#: The logger of Celery's tracer: a program that filters or reads its lines finds ours as well.
logger = logging.getLogger("celery.app.trace")

#: Headers of a message that Celery knows; any other is a custom header.
_KNOWN_FIELDS = frozenset({*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"})

#: Methods of a task that are called only if the task overrides them.
_HOOKS = ("before_start", "on_success", "after_return")


class TraceReport(NamedTuple):
    """What a pool gives to ``Request.on_success``."""

    #: 1 for a task that did not succeed, else 0.
    failed: int
    #: The text of the return value, or an ExceptionInfo.
    result: Any
    #: Seconds.
    runtime: float


class BareExceptionInfo(NamedTuple):
    """An ExceptionInfo that has only the exception, without a traceback."""

    exception: BaseException


class TaskRun:
    """One run of one task."""

    __slots__ = ("args", "context", "error", "id", "kwargs", "publish_result", "root_id", "shown", "started")

    def __init__(self, task_id: str, args: Any, kwargs: Any, *, shown: bool) -> None:
        self.id, self.args, self.kwargs = task_id, args, kwargs
        self.started = monotonic()
        self.context: Any = None
        #: What was raised before the body. Then the body must not run.
        self.error: Exception | None = None
        self.publish_result = False
        self.root_id = task_id
        #: Whether an event will contain the text of the return value.
        self.shown = shown


class TaskTracer:
    """The tracer of one task in one worker."""

    def __init__(self, task: Any, app: Any, hostname: str) -> None:
        self.task, self.app, self.hostname = task, app, hostname
        self._call = task.run if type(task).__call__ is Task.__call__ else task
        self._hooks = {name for name in _HOOKS if task_has_custom(task, name)}
        self._inherit_priority = app.conf.task_inherit_parent_priority
        self._backend, self._loader = task.backend, app.loader
        self._pid = os.getpid()

    def begin(self, task_id: str, args: Any, kwargs: Any, request: dict[str, Any], *, shown: bool = True) -> TaskRun:
        """Make the task the current one of this context, until ``finish`` or ``abandon``. Errors are in ``error``."""
        task, run = self.task, TaskRun(task_id, args, kwargs, shown=shown)
        run.context = context = _request_context(request, args, kwargs)
        ignore_result = get_actual_ignore_result(task, context)
        run.publish_result = not ignore_result
        run.root_id = context.root_id or task_id
        _task_stack.push(task)
        task.request_stack.push(context)
        try:
            if not hasattr(kwargs, "items"):
                raise InvalidTaskError("Task keyword arguments is not a mapping")
            if signals.task_prerun.receivers:
                signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=args, kwargs=kwargs)
            self._loader.on_task_init(task_id, task)
            if task.track_started and not ignore_result:
                meta = {"pid": self._pid, "hostname": self.hostname}
                self._backend.store_result(task_id, meta, states.STARTED, request=context)
            if "before_start" in self._hooks:
                task.before_start(task_id, args, kwargs)
        except Exception as error:
            run.error = error
        return run

    def finish(self, run: TaskRun, result: BodyResult) -> TraceReport:
        """Store the result of the task and leave it. Raises Reject when the message is to go back to its queue."""
        try:
            return self._finish(run, result)
        except BROKER_AWAY as error:  # the task has not failed; it can be done when the broker answers again
            raise Reject(error, requeue=True) from error

    def _finish(self, run: TaskRun, result: BodyResult) -> TraceReport:
        state = retval = None
        try:
            try:
                report, state, retval = self._conclude(run, result)
                if "after_return" in self._hooks and state not in (IGNORED, REJECTED, RETRY):
                    self._after("after_return", run, state, retval, run.id, run.args, run.kwargs, None)
                return report
            finally:
                self._leave(run, retval, state)
        except (Reject, MemoryError, *BROKER_AWAY):
            raise
        except Exception as error:  # of a hook, of the backend or ours, not of the body
            task = self.task
            _signal_internal_error(task, run.id, run.args, run.kwargs, vars(run.context), error)
            reported = report_internal_error(task, error)
            TraceInfo(FAILURE, error).handle_error_state(task, run.context)
            return TraceReport(1, reported, 0.0)

    def abandon(self, run: TaskRun) -> None:
        """Leave a task whose result no longer counts: it was revoked, timed out or handed back."""
        self._leave(run, None, None)

    def _conclude(self, run: TaskRun, result: BodyResult) -> tuple[TraceReport, str, Any]:
        task, request = self.task, run.context
        try:
            if run.error is not None:
                raise run.error
            replay_next(result)
            retval = self._call(*run.args, **run.kwargs)
        except Reject as predicate:
            error = ExceptionInfo(internal=True)
            TraceInfo(REJECTED, predicate).handle_reject(task, request)
            traceback_clear(predicate)
            return TraceReport(1, error, 0.0), REJECTED, predicate
        except Ignore as predicate:  # every replaced task ends here, so no traceback is made that nobody reads
            if logger.isEnabledFor(logging.INFO):
                TraceInfo(IGNORED, predicate).handle_ignore(task, request)
            traceback_clear(predicate)
            return TraceReport(1, BareExceptionInfo(predicate), 0.0), IGNORED, predicate
        except Retry as predicate:
            return self._failed(run, predicate, RETRY, call_errbacks=False)
        except Exception as error:
            return self._failed(run, error)
        return self._succeeded(run, retval)

    def _failed(
        self, run: TaskRun, error: Exception, state: str = FAILURE, *, call_errbacks: bool = True
    ) -> tuple[TraceReport, str, Any]:
        """Record a failure or a retry. Call it while ``error`` is being handled: Celery reads the traceback there."""
        info = TraceInfo(state, error)
        recorded = info.handle_error_state(self.task, run.context, call_errbacks=call_errbacks)
        traceback_clear(error)
        return TraceReport(1, recorded, 0.0), state, error

    def _succeeded(self, run: TaskRun, retval: Any) -> tuple[TraceReport, str, Any]:
        task, request = self.task, run.context
        try:
            # Callbacks before the result, so that the result can name its children.
            self._continue_with(retval, run)
            self._backend.mark_as_done(run.id, retval, request, run.publish_result)
        except EncodeError as error:
            return self._failed(run, error)
        runtime = monotonic() - run.started
        if "on_success" in self._hooks:
            self._after("on_success", run, retval, run.id, run.args, run.kwargs)
        if signals.task_success.receivers:
            signals.task_success.send(sender=task, result=retval, runtime=runtime)
        logged = logger.isEnabledFor(logging.INFO)
        shown = saferepr(retval, task.resultrepr_maxsize) if task.shows_data and (run.shown or logged) else ""
        if logged:
            self._log_success(run, shown, runtime)
        return TraceReport(0, shown, runtime), states.SUCCESS, retval

    def _continue_with(self, retval: Any, run: TaskRun) -> None:
        """Send the task's callbacks, then the next step of its chain."""
        request = run.context
        if not request.callbacks and not request.chain:
            return
        options = {
            "parent_id": run.id,
            "root_id": run.root_id,
            "priority": request.delivery_info.get("priority") if self._inherit_priority else None,
        }
        publish = self.app.amqp._retry_publish
        callbacks = [maybe_signature(callback, app=self.app) for callback in request.callbacks or ()]
        if len(callbacks) > 1:  # groups are published one by one, else they would count as children twice
            singles = [callback for callback in callbacks if not isinstance(callback, group)]
            callbacks = [callback for callback in callbacks if isinstance(callback, group)]
            if singles:
                callbacks.append(group(singles, app=self.app))
        for callback in callbacks:
            publish(callback.apply_async, (retval,), **options)
        if request.chain:
            following = maybe_signature(request.chain[-1], app=self.app)
            publish(following.apply_async, (retval,), chain=request.chain[:-1], **options)

    def _after(self, name: str, run: TaskRun, *args: Any) -> None:
        """Call a hook of the task. The task's result is stored already, so an error of the hook is only logged."""
        try:
            getattr(self.task, name)(*args)
        except (Reject, MemoryError):
            raise
        except Exception as error:
            shown = get_task_name(run.context, self.task.name)
            logger.exception("Task %s[%s] %s handler raised: %r", shown, run.id, name, error)
            traceback_clear(error)

    def _log_success(self, run: TaskRun, shown: str, runtime: float) -> None:
        request = run.context
        data = {
            "id": run.id,
            "name": get_task_name(request, self.task.name),
            "return_value": shown,
            "runtime": runtime,
            "args": request.get("argsrepr") or saferepr(run.args),
            "kwargs": request.get("kwargsrepr") or saferepr(run.kwargs),
        }
        logger.info(LOG_SUCCESS, data, extra={"data": data})

    def _leave(self, run: TaskRun, retval: Any, state: str | None) -> None:
        task = self.task
        try:
            if signals.task_postrun.receivers:
                about = {"task_id": run.id, "task": task, "args": run.args, "kwargs": run.kwargs}
                signals.task_postrun.send(sender=task, retval=retval, state=state, **about)
        finally:
            _task_stack.pop()
            task.request_stack.pop()
            try:
                self._backend.process_cleanup()
                self._loader.on_process_cleanup()
            except Exception:
                logger.exception("Process cleanup failed")


def _request_context(request: dict[str, Any], args: Any, kwargs: Any) -> Any:
    """Return ``Context(request, args=args, kwargs=kwargs, called_directly=False)``, in a tenth of the time."""
    context = Context.__new__(Context)
    fields = vars(context)
    fields.update(request, args=args, kwargs=kwargs, called_directly=False)
    limits = fields.get("timelimit")
    hard, soft = limits[:2] if isinstance(limits, list | tuple) and len(limits) >= 2 else (None, None)
    if "timelimit" in fields:
        fields["time_limit"], fields["soft_time_limit"] = hard, soft
    if context.headers is None and not request.keys() <= _KNOWN_FIELDS:
        context.headers = {name: request[name] for name in request.keys() - _KNOWN_FIELDS}
    return context
