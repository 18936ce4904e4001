"""A task in both of MCP's dialects: the experimental one of 2025-11-25, and the extension of 2026-07-28 (SEP-2663)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from mcp_types import CallToolResult, ElicitRequest, ErrorData, Task
from pydantic import BaseModel, ConfigDict

EXTENSION = "io.modelcontextprotocol/tasks"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
RELATED_TASK = "io.modelcontextprotocol/related-task"

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]
ENDED = frozenset({"completed", "failed", "cancelled"})


class TaskState(BaseModel):
    """How a task stands, whatever stands behind it."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    status: Status
    created: datetime
    updated: datetime
    ttl: timedelta
    message: str | None = None
    #: What the tool returned, where it is completed; also an error that a model is to read.
    result: CallToolResult | None = None
    #: Why there is no result at all.
    error: ErrorData | None = None
    #: What is asked of the client: requests by a key of ours.
    requests: dict[str, ElicitRequest] = {}

    @property
    def ended(self) -> bool:
        return self.status in ENDED


#: A client that looks is asked to look this often.
POLL_INTERVAL = timedelta(seconds=1)


def created_task(state: TaskState) -> dict[str, Any]:
    """Return the result of 2026-07-28 that stands for a call which became a task."""
    return {"resultType": "task", **_modern(state)}


def detailed_task(state: TaskState) -> dict[str, Any]:
    """Return a task of 2026-07-28 with what its status calls for."""
    told = {"resultType": "complete", **_modern(state)}
    match state.status:
        case "completed":
            told["result"] = _dumped(state.result)
        case "failed":
            told["error"] = _dumped(state.error)
        case "input_required":
            told["inputRequests"] = {key: _dumped(request) for key, request in state.requests.items()}
    return told


def _modern(state: TaskState) -> dict[str, Any]:
    told = {
        "taskId": state.task_id,
        "status": state.status,
        "createdAt": _written(state.created),
        "lastUpdatedAt": _written(state.updated),
        "ttlMs": _milliseconds(state.ttl),
        "pollIntervalMs": _milliseconds(POLL_INTERVAL),
    }
    return {**told, "statusMessage": state.message} if state.message else told


def legacy_task(state: TaskState) -> Task:
    """Return a task of 2025-11-25, where a tool's own error counts as failed."""
    failed = state.status == "completed" and state.result is not None and bool(state.result.is_error)
    return Task(
        task_id=state.task_id,
        status="failed" if failed else state.status,
        status_message=state.message,
        created_at=_written(state.created),
        last_updated_at=_written(state.updated),
        ttl=_milliseconds(state.ttl),
        poll_interval=_milliseconds(POLL_INTERVAL),
    )


def _dumped(value: BaseModel | None) -> dict[str, Any]:
    return value.model_dump(by_alias=True, mode="json", exclude_none=True) if value is not None else {}


def _milliseconds(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
