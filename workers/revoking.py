"""What becomes of a query whose task is revoked by Celery's remote control or in Flower: it is cancelled."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from agentic_flywheel.errors import FlywheelError
from workers.engine.loops import shared_loop
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

#: Seconds for which a worker's main thread waits for the broker. What was begun goes on after that.
_PATIENCE = 2.0


def cancel_revoked(runtime: Runtime, names: Sequence[str]) -> set[str]:
    """Cancel the queries among these names: task ids, or ``ID|PART``. Returns the names that are of queries.

    It blocks, for two seconds at most; what is not known by then is left to Celery.
    """
    try:
        return shared_loop.get().submit(_cancel(runtime, names)).result(_PATIENCE)
    except (FlywheelError, TimeoutError) as failure:
        logger.warning("what was revoked is not yet cancelled: %s", failure or "the broker does not answer")
        return set()


async def _cancel(runtime: Runtime, names: Sequence[str]) -> set[str]:
    ids = [name.partition("|")[0] for name in names]
    states = await runtime.transitions.cancel(ids, asker=None, reason="its task was revoked")
    return {name for name, state in zip(names, states, strict=True) if state != "unknown"}
