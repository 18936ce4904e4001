"""The small server that the conformance suite's ``tasks-*`` scenarios ask for, made with the bridge's own extension.

Run as ``python tests/mcp/fixture_server.py PORT``. Its tasks live in memory; everything MCP is the bridge's code.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    ListToolsResult,
    TextContent,
    Tool,
    ToolExecution,
)

from mcp_bridge.task_shapes import TaskState
from mcp_bridge.tasks import Context, Tasks

OBJECT = {"type": "object"}
TASK_TOOLS = {
    "slow_compute": "optional",
    "failing_job": "required",
    "protocol_error_job": "optional",
    "confirm_delete": "optional",
    "multi_input": "optional",
    "test_tool_with_task": "required",
}


def said(text: str, *, error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=error)


def form(message: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "confirm": {"type": "boolean"}}}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


class Job:
    """One task in memory."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        now = datetime.now(UTC)
        self.state = TaskState(
            task_id=uuid.uuid4().hex, status="working", created=now, updated=now, ttl=timedelta(minutes=10)
        )
        self.answers: dict[str, Any] = {}
        self.run: asyncio.Task[None] | None = None

    def set(self, **changes: Any) -> None:
        if not self.state.ended:
            self.state = self.state.model_copy(update={**changes, "updated": datetime.now(UTC)})
            self.changed.set()

    async def ask(self, **requests: ElicitRequest) -> dict[str, Any]:
        self.set(status="input_required", requests=requests)
        while self.state.requests:
            self.changed.clear()
            await self.changed.wait()
        self.set(status="working")
        return self.answers


async def work(name: str, arguments: Mapping[str, Any], job: Job) -> CallToolResult:
    match name:
        case "slow_compute":
            await asyncio.sleep(float(arguments.get("seconds", 1)))
            return said(f"computed {arguments.get('label', '')}")
        case "failing_job":
            await asyncio.sleep(1)
            return said("it failed, as it always does", error=True)
        case "protocol_error_job":
            raise RuntimeError("this job breaks")
        case "confirm_delete":
            await job.ask(confirm=form(f"Delete {arguments.get('filename')}?"))
            return said("deleted")
        case "multi_input":
            answers = await job.ask(first=form("The first?"), second=form("The second?"))
            return said(f"{len(answers)} answers")
        case _:
            return said(f"Hello, {arguments.get('user_name')}!")


class Jobs:
    """All tasks in memory; a ``TaskSource``."""

    tools = frozenset(TASK_TOOLS)
    required = frozenset(name for name, support in TASK_TOOLS.items() if support == "required")

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def start(self, ctx: Context, params: CallToolRequestParams, *, always: bool) -> TaskState | HandlerResult:
        arguments = dict(params.arguments or {})
        if params.name == "test_tool_with_task":
            given = params.input_responses or {}
            if "user_name" not in given:
                return InputRequiredResult(input_requests={"user_name": form("What is your name?")})
            said = given["user_name"]
            assert isinstance(said, ElicitResult)
            arguments["user_name"] = (said.content or {}).get("name")
        job = Job()
        self._jobs[job.state.task_id] = job
        job.run = asyncio.create_task(self._run(params.name, arguments, job))
        return job.state

    async def _run(self, name: str, arguments: Mapping[str, Any], job: Job) -> None:
        try:
            job.set(status="completed", result=await work(name, arguments, job))
        except RuntimeError as failure:
            job.set(status="failed", error=ErrorData(code=INTERNAL_ERROR, message=str(failure)))

    async def find(self, ctx: Context, task_id: str) -> TaskState | None:
        job = self._jobs.get(task_id)
        return job.state if job is not None else None

    async def cancel(self, ctx: Context, task_id: str) -> None:
        job = self._jobs[task_id]
        job.set(status="cancelled", requests={})
        if job.run is not None:
            job.run.cancel()

    async def answer(self, ctx: Context, task_id: str, answers: Mapping[str, Any]) -> None:
        job = self._jobs[task_id]
        known = {key: value for key, value in answers.items() if key in job.state.requests}
        job.answers |= known
        job.set(requests={key: value for key, value in job.state.requests.items() if key not in known})

    async def follow(self, ctx: Context, task_id: str) -> AsyncIterator[TaskState]:
        job = self._jobs[task_id]
        while True:
            job.changed.clear()
            yield job.state
            if job.state.ended:
                return
            await job.changed.wait()


async def list_tools(ctx: Context, params: Any) -> ListToolsResult:
    tools = [Tool(name="greet", description="Greets.", input_schema=OBJECT)]
    for name, support in TASK_TOOLS.items():
        execution = ToolExecution.model_validate({"task_support": support})
        tools.append(Tool(name=name, description=name, input_schema=OBJECT, execution=execution))
    return ListToolsResult(tools=tools)


async def call_tool(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
    arguments = params.arguments or {}
    if params.name == "greet":
        return said(f"Hello, {arguments.get('name')}!")
    return await work(params.name, arguments, Job())


def main() -> None:
    kept: set[asyncio.Task[None]] = set()
    server: Server[Any] = Server("tasks-fixture", version="1", on_list_tools=list_tools)
    tasks = Tasks(Jobs(), kept.add)
    server.add_request_handler("tools/call", CallToolRequestParams, tasks.around(call_tool))
    tasks.serve_on(server)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="info")


if __name__ == "__main__":
    main()
