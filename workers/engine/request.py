"""Celery's request and strategy for coroutine tasks, without what costs on every message and serves none of them.

A task message takes Celery hundreds of calls from its queue to its end, for rate limits, delays, events and time zones
that these tasks do not use. What a message or a setting does ask for goes Celery's own way.
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
from celery.worker import request as stock
from celery.worker import state
from celery.worker.strategy import default

#: Celery's own logger of received tasks.
_log = logging.getLogger("celery.worker.strategy")


def tells_of_tasks(eventer: Any) -> bool:
    """Return whether events of tasks are sent. Without ``-E`` an eventer has heartbeats to send, and only those."""
    return bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))


class Request(stock.Request):  # type: ignore[misc]
    """One delivery of a coroutine task."""

    #: Arguments, keyword arguments, and what else the message carries; a property that decodes, in Celery's.
    _payload: Any = None

    def __init__(self, message: Any, **always: Any) -> None:
        super().__init__(message, headers=message.headers, **always)
        self._payload = message.payload

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Run the task in our pool. Raises TaskRevokedError."""
        if (self._expires or self._already_revoked or _is_revocable(self)) and self.revoked():
            raise TaskRevokedError(self.id)
        job = pool.take(self)
        self._apply_result = ref(job)
        return job

    def on_accepted(self, pid: int, time_accepted: float) -> None:
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
        failed, shown, runtime = failed__retval__runtime
        if failed:
            super().on_success(failed__retval__runtime)
            return
        # Not among ``successful_requests``: they tell apart what is still active though its task has ended.
        state.requests.pop(self.id, None)
        state.active_requests.discard(self)
        state.reserved_requests.discard(self)
        if self._task.acks_late:
            self.acknowledge()
        if tells_of_tasks(self._eventer):
            self.send_event("task-succeeded", result=shown, runtime=runtime)


def _is_revocable(request: Request) -> bool:
    return request.id in state.revoked or bool(request.stamped_headers)


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Return what a consumer calls with each message of ``task``."""
    celerys: Callable[..., Any] = default(task, app, consumer)
    if getattr(task, "body", None) is None or not hasattr(consumer.pool, "take"):
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
        current = payload is None and type(message.payload) is list  # Celery's protocol 2, which carries a list
        if not current or headers.get("eta") or buckets[task.name] is not None:
            return celerys(message, payload, ack, reject, callbacks)
        request = Request(message, on_ack=ack, on_reject=reject, **always)
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


def _log_received(request: Request) -> None:
    about = {
        "id": request.id,
        "name": request.name,
        "args": request._argsrepr,
        "kwargs": request._kwargsrepr,
        "eta": None,
    }
    _log.info(trace.LOG_RECEIVED, about, extra={"data": about})


def _as_received(request: Request) -> dict[str, Any]:
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
