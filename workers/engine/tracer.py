"""What surrounds the body of a coroutine task: Celery's ``trace_task``, cut in two where the body runs.

``begin`` does what comes before the body (request, signals, STARTED, ``before_start``), ``finish`` what comes after
(retry, ignore, reject, failure, callbacks, chain, chord, result, signals). Both run in the task's own context on the
thread that owns the broker connection; the body runs between them on the loop. The order of steps and the handling of
each error are those of ``celery.app.trace.build_tracer`` of Celery 5.7.0. Left out: deduplication of successful tasks
(``worker_deduplicate_successful_tasks``).
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
from workers.engine.task import Outcome, replaying

#: Celery's own name: who filters or reads the lines of its tracer finds ours there too.
logger = logging.getLogger("celery.app.trace")

#: Fields of a message that are not custom headers.
_KNOWN_FIELDS = frozenset({*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"})


#: Methods that a task may override; most do not, and then nobody calls them.
_HOOKS = ("before_start", "on_success", "after_return")


class Ended(NamedTuple):
    """What a pool reports to ``Request.on_success``."""

    failed: int
    #: The text of the return value, or an ExceptionInfo.
    result: Any
    runtime: float


class Bare(NamedTuple):
    """An ExceptionInfo with nothing but the exception."""

    exception: BaseException


class Run:
    """One run of one task."""

    __slots__ = ("args", "context", "error", "id", "kwargs", "publish_result", "root_id", "shown", "started")

    def __init__(self, task_id: str, args: Any, kwargs: Any, *, shown: bool) -> None:
        self.id, self.args, self.kwargs = task_id, args, kwargs
        self.started = monotonic()
        self.context: Any = None
        #: Why the body must not run: an error in what comes before it.
        self.error: Exception | None = None
        self.publish_result = False
        self.root_id = task_id
        #: Whether an event will show the text of the return value.
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

    # Before the body

    def begin(self, task_id: str, args: Any, kwargs: Any, request: dict[str, Any], *, shown: bool = True) -> Run:
        """Enter the task: from here on it is the current task of this context. ``finish`` or ``abandon`` leaves it."""
        task, run = self.task, Run(task_id, args, kwargs, shown=shown)
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

    # After the body

    def finish(self, run: Run, outcome: Outcome) -> Ended:
        """Conclude and leave the task. Raises Reject when the message is to go back to its queue."""
        try:
            return self._finish(run, outcome)
        except BROKER_AWAY as error:  # the task has not failed: somebody can do it when the broker is there again
            raise Reject(error, requeue=True) from error

    def _finish(self, run: Run, outcome: Outcome) -> Ended:
        state = retval = None
        try:
            try:
                ended, state, retval = self._conclude(run, outcome)
                if "after_return" in self._hooks and state not in (IGNORED, REJECTED, RETRY):
                    self._after("after_return", run, state, retval, run.id, run.args, run.kwargs, None)
                return ended
            finally:
                self._leave(run, retval, state)
        except (Reject, MemoryError, *BROKER_AWAY):
            raise
        except Exception as error:  # not the body's: a hook's, the backend's or ours
            task = self.task
            _signal_internal_error(task, run.id, run.args, run.kwargs, vars(run.context), error)
            reported = report_internal_error(task, error)
            TraceInfo(FAILURE, error).handle_error_state(task, run.context)
            return Ended(1, reported, 0.0)

    def abandon(self, run: Run) -> None:
        """Leave a task whose end was announced while it ran: revoked, timed out, handed back."""
        self._leave(run, None, None)

    def _conclude(self, run: Run, outcome: Outcome) -> tuple[Ended, str, Any]:
        task, request = self.task, run.context
        try:
            if run.error is not None:
                raise run.error
            replaying(outcome)
            retval = self._call(*run.args, **run.kwargs)
        except Reject as predicate:
            error = ExceptionInfo(internal=True)
            TraceInfo(REJECTED, predicate).handle_reject(task, request)
            traceback_clear(predicate)
            return Ended(1, error, 0.0), REJECTED, predicate
        except Ignore as predicate:  # every replaced task ends here: no traceback is rendered that nobody will read
            if logger.isEnabledFor(logging.INFO):
                TraceInfo(IGNORED, predicate).handle_ignore(task, request)
            traceback_clear(predicate)
            return Ended(1, Bare(predicate), 0.0), IGNORED, predicate
        except Retry as predicate:
            return self._failed(run, predicate, RETRY, call_errbacks=False)
        except Exception as error:
            return self._failed(run, error)
        return self._succeeded(run, retval)

    def _failed(
        self, run: Run, error: Exception, state: str = FAILURE, *, call_errbacks: bool = True
    ) -> tuple[Ended, str, Any]:
        """Record a failure or a retry. Call it where ``error`` is being handled: Celery reads the traceback there."""
        info = TraceInfo(state, error)
        recorded = info.handle_error_state(self.task, run.context, call_errbacks=call_errbacks)
        traceback_clear(error)
        return Ended(1, recorded, 0.0), state, error

    def _succeeded(self, run: Run, retval: Any) -> tuple[Ended, str, Any]:
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
        shown = saferepr(retval, task.resultrepr_maxsize) if run.shown or logged else ""
        if logged:
            self._log_success(run, shown, runtime)
        return Ended(0, shown, runtime), states.SUCCESS, retval

    def _continue_with(self, retval: Any, run: Run) -> None:
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
        if len(callbacks) > 1:  # groups on their own, so that they are not counted as children twice
            singles = [callback for callback in callbacks if not isinstance(callback, group)]
            callbacks = [callback for callback in callbacks if isinstance(callback, group)]
            if singles:
                callbacks.append(group(singles, app=self.app))
        for callback in callbacks:
            publish(callback.apply_async, (retval,), **options)
        if request.chain:
            following = maybe_signature(request.chain[-1], app=self.app)
            publish(following.apply_async, (retval,), chain=request.chain[:-1], **options)

    def _after(self, name: str, run: Run, *args: Any) -> None:
        """Call a hook of the task. The outcome is recorded already, so its error is only logged."""
        try:
            getattr(self.task, name)(*args)
        except (Reject, MemoryError):
            raise
        except Exception as error:
            shown = get_task_name(run.context, self.task.name)
            logger.exception("Task %s[%s] %s handler raised: %r", shown, run.id, name, error)
            traceback_clear(error)

    def _log_success(self, run: Run, shown: str, runtime: float) -> None:
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

    def _leave(self, run: Run, retval: Any, state: str | None) -> None:
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
