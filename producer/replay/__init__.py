"""Ask many recorded questions again and see what changed: ``assert replay("file.jsonl", out=folder).gate("…")``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.replay.items import ReplayItem
    from producer.replay.program import Replay
    from producer.replay.recorded import Recorded
    from producer.replay.replayed import Replayed, replay
    from producer.replay.results import ItemResult

__all__ = ["ItemResult", "Recorded", "Replay", "ReplayItem", "Replayed", "replay"]

_PLACES = {
    "ItemResult": "results",
    "Recorded": "recorded",
    "Replay": "program",
    "ReplayItem": "items",
    "Replayed": "replayed",
    "replay": "replayed",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: who only runs replays needs none of the statistics."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
