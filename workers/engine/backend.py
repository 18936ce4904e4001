"""Celery's Redis result backend, whose writes inside a worker leave with the acknowledgements that stand on them."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from kombu.utils.encoding import bytes_to_str

from workers.engine.ledger import ledger


class Backend(RedisBackend):  # type: ignore[misc]
    """Stock keys and values: any Celery client reads them."""

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if not ledger.is_open:
            return super()._store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = bytes_to_str(task_id)
        ttl = self.failure_expires if state == states.FAILURE else self.expires
        ledger.result(bytes_to_str(self.get_key_for_task(task_id)), ttl or 0, self.encode(meta))
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, propagate: Any = None, **kwargs: Any) -> None:
        # The last part may read the results of all parts, its own among them: they must be there.
        if ledger.is_open:
            ledger.settle()
        super().on_chord_part_return(request, state, result, propagate=propagate, **kwargs)
