"""Celery's Redis result backend. In a worker, results are written in one batch with acknowledgements, results first."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import states
from celery.backends import redis as celery_redis
from kombu.utils.encoding import bytes_to_str

from agentic_flywheel.broker import wire
from workers.engine.ledger import ledger
from workers.engine.plain_json import write


class Backend(celery_redis.RedisBackend):  # type: ignore[misc]
    """Stores results under Celery's own keys and in its own form, so any Celery client reads them."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Store a result. In a worker this adds to the ledger."""
        if not ledger.is_open:
            return super().store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        result = self.encode_result(result, state)
        meta = self._meta(result, state, traceback, request)
        meta["task_id"] = bytes_to_str(task_id)
        ttl = self.failure_expires if state == states.FAILURE else self.expires
        ledger.result(wire.result_key(bytes_to_str(task_id)), ttl or 0, self._text(meta))
        return result

    def _meta(self, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        """Return what Celery's ``_get_result_meta`` returns, without converting time zones."""
        if self._extended:
            return dict(self._get_result_meta(result=result, state=state, traceback=traceback, request=request))
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": datetime.now(UTC).isoformat() if state in states.READY_STATES else None,
        }
        if request is not None:
            about = {"group_id": getattr(request, "group", None), "parent_id": getattr(request, "parent_id", None)}
            meta.update((name, value) for name, value in about.items() if value)
        return meta

    @cached_property
    def _extended(self) -> bool:
        return bool(self.app.conf.find_value_for_key("extended", "result"))

    def _text(self, meta: dict[str, Any]) -> str:
        if self.serializer == "json" and not self.compression:
            with suppress(TypeError, ValueError):
                return write(meta)
        return str(bytes_to_str(self.encode(meta)))  # raises Celery's EncodeError for what cannot be written

    def _fail_chain(self, chain: Any, *args: Any, store_result: bool = True, **kwargs: Any) -> None:
        """Store the failure as the result of what was chained behind a task, also where its own result is ignored."""
        super()._fail_chain(chain, *args, store_result=True, **kwargs)

    def on_chord_part_return(self, request: Any, state: str, result: Any, propagate: Any = None, **kwargs: Any) -> None:
        """Count one part of a chord as done."""
        # The last part reads the results of all parts, also its own, so they must be written.
        if ledger.is_open:
            ledger.settle()
        super().on_chord_part_return(request, state, result, propagate=propagate, **kwargs)


class SentinelBackend(Backend, celery_redis.SentinelBackend):  # type: ignore[misc]
    """The same where Sentinels name the broker."""
