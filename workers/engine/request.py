"""Celery's request and strategy for coroutine tasks, in fewer steps.

Celery makes hundreds of calls for each message, for rate limits, delays, events and time zones that these tasks do not
use. If a message or a setting asks for one of them, Celery's own strategy receives the message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any
from weakref import ref

from celery import signals
from celery.app import trace
from celery.exceptions import TaskRevokedError
from celery.worker import request as celery_request
from celery.worker import state
from celery.worker.strategy import default

from workers.engine.revoking import revocations

#: The logger with which Celery logs received tasks.
_log = logging.getLogger("celery.worker.strategy")

_ENDS = ("task-succeeded", "task-failed", "task-retried")


def tells_of_tasks(eventer: Any) -> bool:
    """Return whether events of tasks are sent. Without the option ``-E``, a worker sends only its heartbeats."""
    return bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))


class DiscreetRequest(celery_request.Request):  # type: ignore[misc]
    """One delivery of a task, of which others are told what the task wants to be shown.

    Celery's own strategy makes these of what ours passes on to it, such as messages of protocol 1.
    """

    def __init__(self, message: Any, **given: Any) -> None:
        super().__init__(message, **given)
        if not self._task.stores_result:
            self._ignore_result = self._request_dict["ignore_result"] = True
        # Who sends a task describes its arguments, by default word for word. Our own messages name lengths only.
        if not self._task.shows_data and "execution" not in message.properties:
            self._argsrepr, self._kwargsrepr = "(not shown)", "{}"

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what remote control is told of this request."""
        told: dict[str, Any] = super().info(safe or not self._task.shows_data)
        return told

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)
        if not expired and not self._task.tells_end:
            revocations.announced(self.message.properties.get("execution") or self.id)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event of this task, but not of its end where the application tells that."""
        if self._task.tells_end or type not in _ENDS:
            super().send_event(type, **fields)


class CoroutineRequest(DiscreetRequest):
    """One delivery of a coroutine task."""

    #: Positional arguments, keyword arguments and the embedded callbacks. Celery's is a property that decodes again.
    _payload: Any = None

    def __init__(self, message: Any, **always: Any) -> None:
        super().__init__(message, headers=message.headers, **always)
        self._payload = message.payload
        if self._task.honours_times:
            self._eta = self._expires = None
            self.time_limits = (None, None)
            self._request_dict["timelimit"] = None

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Run the task in our pool. Raises TaskRevokedError."""
        if (self._expires or self._already_revoked or _is_revocable(self)) and self.revoked():
            raise TaskRevokedError(self.id)
        job = pool.take(self)
        self._apply_result = ref(job)
        return job

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note that the task starts."""
        self.worker_pid = pid
        self.time_start = time()
        state.active_requests.add(self)
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        if not self._task.acks_late:
            self.acknowledge()
        if tells_of_tasks(self._eventer):
            self.send_event("task-started")
        if self._terminate_on_ack is not None:
            self.terminate(*self._terminate_on_ack)

    def on_success(self, failed__retval__runtime: Any, **_: Any) -> None:
        """Conclude the task with what its tracer has reported."""
        failed, shown, runtime = failed__retval__runtime
        if failed:
            super().on_success(failed__retval__runtime)
            return
        # Celery also adds to ``successful_requests``, for pools where a request stays active after its task has ended.
        state.requests.pop(self.id, None)
        state.active_requests.discard(self)
        state.reserved_requests.discard(self)
        if self._task.acks_late:
            self.acknowledge()
        if tells_of_tasks(self._eventer):
            self.send_event("task-succeeded", result=shown, runtime=runtime)


def _is_revocable(request: CoroutineRequest) -> bool:
    return request.id in state.revoked or bool(request.stamped_headers)


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Return the function that a consumer calls with each message of ``task``."""
    celerys: Callable[..., Any] = default(task, app, consumer)
    if getattr(task, "body", None) is None:
        return celerys
    buckets, pass_on = consumer.task_buckets, consumer.on_task_request
    always = {
        "app": app,
        "task": task,
        "hostname": consumer.hostname,
        "eventer": consumer.event_dispatcher,
        "connection_errors": consumer.connection_errors,
        "utc": app.uses_utc_timezone(),
    }

    def receive(message: Any, payload: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        headers = message.headers
        is_protocol_2 = payload is None and type(message.payload) is list
        waits_for_eta = headers.get("eta") and not task.honours_times
        if not is_protocol_2 or waits_for_eta or buckets[task.name] is not None:
            return celerys(message, payload, ack, reject, callbacks)
        request = CoroutineRequest(message, on_ack=ack, on_reject=reject, **always)
        if _log.isEnabledFor(logging.INFO):
            _log_received(request)
        if (request._expires or request.id in state.revoked) and request.revoked():
            return None
        if signals.task_received.receivers:
            signals.task_received.send(sender=consumer, request=request)
        if tells_of_tasks(request._eventer):
            request.send_event("task-received", **_as_received(request))
        state.task_reserved(request)
        for callback in callbacks:
            callback(request)
        return pass_on(request)

    return receive


def _log_received(request: CoroutineRequest) -> None:
    about = {
        "id": request.id,
        "name": request.name,
        "args": request._argsrepr,
        "kwargs": request._kwargsrepr,
        "eta": None,
    }
    _log.info(trace.LOG_RECEIVED, about, extra={"data": about})


def _as_received(request: CoroutineRequest) -> dict[str, Any]:
    expires = request._expires
    return {
        "name": request.name,
        "args": request._argsrepr,
        "kwargs": request._kwargsrepr,
        "root_id": request._root_id,
        "parent_id": request._parent_id,
        "retries": request._request_dict.get("retries", 0),
        "eta": None,
        "expires": expires and expires.isoformat(),
    }
