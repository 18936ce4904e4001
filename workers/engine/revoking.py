"""Let the application end what Celery's remote control revokes: by `revoke`, `terminate`, or the buttons of Flower.

Celery drops the message that a worker has, and marks the task's result. Where a task is one step of something longer,
that would leave the rest of it open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from celery.worker import control

#: Called with task ids, or with the property ``execution`` of a message that was revoked. Returns those that it knows
#: and ends itself: Celery does nothing with them. It is called on the hub's thread, so it must not take long.
OnRevoked = Callable[[Sequence[str]], Collection[str]]

_celerys_revoke: Callable[..., Any] = control.revoke


class Revocations:
    """Passes on what is revoked in this process."""

    def __init__(self) -> None:
        #: Registered by the application.
        self.on_revoked: OnRevoked | None = None

    def announced(self, name: str) -> None:
        """Tell of a message that Celery has dropped: it was revoked before its worker knew what it belongs to."""
        if self.on_revoked is not None:
            self.on_revoked([name])

    def install(self, on_revoked: OnRevoked | None) -> None:
        """Answer Celery's commands with the application."""
        self.on_revoked = on_revoked
        if on_revoked is not None:
            control.Panel.data["revoke"] = partial(_revoke, on_revoked)
            control.Panel.data["terminate"] = partial(_terminate, on_revoked)


def _revoke(on_revoked: OnRevoked, state: Any, task_id: Any, terminate: bool = False, **options: Any) -> Any:
    """Do as Celery's command of this name for the ids that the application does not know."""
    given = [task_id] if isinstance(task_id, str) else list(task_id or [])
    known = on_revoked([each for each in given if isinstance(each, str)])
    left = [each for each in given if each not in known]
    if given and not left:
        return {"ok": f"tasks {', '.join(given)} cancelled"}
    return _celerys_revoke(state, left, terminate=terminate, **options)


def _terminate(on_revoked: OnRevoked, state: Any, signal: Any, task_id: Any, **options: Any) -> Any:
    return _revoke(on_revoked, state, task_id, terminate=True, signal=signal, **options)


#: Those of this process.
revocations = Revocations()
