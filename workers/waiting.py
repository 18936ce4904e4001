"""Where the message of an execution waits when its flow is not called now: one method for each place."""

from __future__ import annotations

import json
from typing import assert_never

from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.errors import FlowError
from workers.assignment import Assignment
from workers.outcomes import heard_of
from workers.retry import RetryDecision

#: Milliseconds before an execution is delivered again whose lease another one has.
_LOOK_AGAIN_MS = 500


class WaitingPlaces:
    """The places where one assignment's message can wait. All methods raise BrokerUnavailable."""

    def __init__(self, transitions: Transitions, assignment: Assignment) -> None:
        self._transitions, self._assignment = transitions, assignment

    async def behind_leader(self, execution: Execution) -> bool:
        """Attach to the identical call under way. Returns False where that has ended meanwhile."""
        reply = await self._transitions.attach(execution, self._assignment.parcel)
        match reply:
            case scripts.AttachAgain():
                return False
            case scripts.AttachAttached() | scripts.AttachGone():
                return True
            case _:
                assert_never(reply)

    async def parked(self, execution: Execution, reason: str) -> None:
        """Wait beside the queue until the flow may be called again."""
        assignment = self._assignment
        reply = await self._transitions.park(
            execution, assignment.flow, assignment.parcel, reason=reason, priority=assignment.query.priority
        )
        match reply:
            case scripts.ParkParked() | scripts.ParkGone():
                return
            case _:
                assert_never(reply)

    async def for_retry(self, execution: Execution, error: FlowError, decision: RetryDecision, attempts: int) -> bool:
        """Wait for the pause after a failed call. Returns False where its query has ended, or another works on it."""
        assignment = self._assignment
        event = {"error_type": type(error).__name__, "error": error.message, "attempt": attempts}
        reply = await self._transitions.defer(
            execution,
            assignment.flow,
            assignment.parcel,
            queue=assignment.queue,
            delay_ms=int(decision.delay.total_seconds() * 1000),
            event=json.dumps({**event, "delay_s": round(decision.delay.total_seconds(), 3)}, ensure_ascii=False),
            throttled_ms=int(decision.throttled.total_seconds() * 1000),
            counted=decision.counted,
            heard=heard_of(error),
        )
        match reply:
            case scripts.DeferDeferred():
                return True
            case scripts.DeferGone():
                return False
            case scripts.DeferLate():
                await self.to_look_again(execution)
                return False
            case _:
                assert_never(reply)

    async def to_look_again(self, execution: Execution, delay_ms: int = _LOOK_AGAIN_MS) -> None:
        """Deliver the message once more, unless its query has ended: the lease's new holder may be another query."""
        if execution.renews:
            return
        assignment = self._assignment
        reply = await self._transitions.come_back(
            execution, assignment.parcel, queue=assignment.queue, delay_ms=delay_ms
        )
        match reply:
            case scripts.ComeBackWaits() | scripts.ComeBackGone():
                return
            case _:
                assert_never(reply)
