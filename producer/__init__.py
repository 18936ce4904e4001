"""Ask questions of your flows through the queue.

``with Producer() as producer: producer.ask("…")`` in a script or a thread, ``AsyncProducer`` on an event loop: both
have the same methods. ``Submission`` is what ``submit`` returns, ``QueryFields`` the keyword arguments that it takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.blocking import Producer
    from producer.client import AsyncProducer
    from producer.fields import QueryFields
    from producer.submitting import Submission

__all__ = ["AsyncProducer", "Producer", "QueryFields", "Submission"]

_PLACES = {"AsyncProducer": "client", "Producer": "blocking", "QueryFields": "fields", "Submission": "submitting"}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: `flywheel --help` needs none of them, and they take half a second."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
