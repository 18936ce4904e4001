"""What Flower is told of queries: one row a query, one a part of it, in the state that the query itself has.

Classification, answer and synthesis are tasks with the query's id. The first success that Flower hears of under an id
outranks all that comes later, so the tasks tell nothing of their own end, and the end of the query is told here. Rows
name flow, domain and lengths. They contain no text of a question or an answer.
"""

from __future__ import annotations

from datetime import UTC, datetime

from agentic_flywheel.broker import parcels, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.messages import shown
from agentic_flywheel.broker.records import load_records
from agentic_flywheel.errors import DeadlineExceeded, ErrorInfo, FlywheelError, InputRequired
from agentic_flywheel.models import Answer, Record, State
from agentic_flywheel.stops import AskedPerson
from workers.engine import TaskEvents

#: Most characters of a reason.
_LONGEST = 1000
#: Celery's fields of a task that was stopped.
_REVOKED = {"terminated": True, "signum": None, "expired": False}


class QueryEvents:
    """Tells Flower how queries go on. Nothing is sent where nobody asked for events."""

    def __init__(self, events: TaskEvents) -> None:
        self._events = events

    @property
    def wanted(self) -> bool:
        return self._events.wanted

    def ended(
        self, execution: Execution, answer: Answer | None, error: FlywheelError | None, *, accepted: datetime | None
    ) -> None:
        """Tell that a query, or a part of it, ended by this execution."""
        if not self.wanted or execution.renews:
            return
        task_id = parcels.task_id_of(execution.query_id, execution.part)
        if answer is not None:
            took = (datetime.now(UTC) - accepted).total_seconds() if accepted else 0.0
            self._events.send("task-succeeded", task_id, result=_said_of(answer), runtime=round(took, 3))
        elif error is not None:
            self._events.send("task-failed", task_id, **_why(error.describe(execution.query_id)))

    def retrying(self, query_id: str, part: str, error: FlywheelError) -> None:
        """Tell that a call has failed and another one follows: of the same flow, or of its fallback."""
        if self.wanted:
            self._events.send(
                "task-retried", parcels.task_id_of(query_id, part), exception=_reason(error.describe(query_id))
            )

    def asking(self, query_id: str, part: str, asked: AskedPerson) -> None:
        """Tell that a flow has stopped and asks a person: Celery's events have no other state for what comes back."""
        if self.wanted:
            error = InputRequired(query_id, 0, asked.flow, f"{len(asked.text)} characters").describe(query_id)
            self._events.send("task-retried", parcels.task_id_of(query_id, part), exception=_reason(error))

    def recorded(self, record: Record) -> None:
        """Tell how a query has ended of which perhaps no task was told: by another's answer, cancelled, expired."""
        if not self.wanted or not record.state.terminal:
            return
        where = (record.flow or "", record.domain or "") if record.flow else ()
        about = {"name": wire.ANSWER if where else wire.CLASSIFY, "args": shown(record.query, *where)}
        if record.answer is not None:
            took = ((record.finished or record.created) - record.created).total_seconds()
            self._events.send(
                "task-succeeded", record.query_id, result=_said_of(record.answer), runtime=round(took, 3), **about
            )
        elif record.state is State.CANCELLED:
            self._events.send("task-revoked", record.query_id, result="QueryCancelled", **_REVOKED, **about)
        else:
            error = record.error or DeadlineExceeded(record.query_id, record.reason).describe()
            self._events.send("task-failed", record.query_id, **_why(error), **about)
        self._parts_of(record)

    async def message_was_late(self, batch: Batch, query_id: str) -> None:
        """Tell again how a query has ended whose message comes now: the worker that ended it may have died untold."""
        if self.wanted:
            for record in await load_records(batch, [query_id]):
                if record is not None:
                    self.recorded(record)

    def _parts_of(self, record: Record) -> None:
        """Tell that what was left of a fan-out is no longer worked on. A part that was answered stays so in Flower."""
        targets = record.route.targets if record.route is not None else ()
        if record.answer is None and len(targets) > 1:
            for target in targets:
                task_id = parcels.task_id_of(record.query_id, target.flow)
                self._events.send("task-revoked", task_id, **_REVOKED)


def _said_of(answer: Answer) -> str:
    # Flower's list shows the first fifty characters.
    return f"{'cached, ' if answer.cached else ''}{len(answer.text)} characters, {answer.flow}, {answer.domain}"


def _why(error: ErrorInfo) -> dict[str, str]:
    """Return the reason as Flower's pages show it: in the list in place of the answer, and on the query's own page."""
    reason = _reason(error)
    return {"result": reason, "exception": reason}


def _reason(error: ErrorInfo) -> str:
    first = f". What to do: {error.recovery_suggestions[0]}" if error.recovery_suggestions else ""
    return f"{error.error_type}: {error.error.rstrip('.')}{first}"[:_LONGEST]
