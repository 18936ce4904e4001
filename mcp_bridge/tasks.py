"""Tool calls as MCP tasks: created, looked at, answered, cancelled and followed, in both dialects.

What stands behind a task is a ``TaskSource``. The bridge's own are queries and batches; the conformance suite is run
over another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Protocol

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    ElicitRequest,
    ElicitResult,
    MissingRequiredClientCapabilityErrorData,
    RequestParams,
    TaskStatusNotification,
    TaskStatusNotificationParams,
)
from mcp_types.jsonrpc import HEADER_MISMATCH

from mcp_bridge.failure import told_error
from mcp_bridge.task_shapes import (
    EXTENSION,
    LEGACY,
    MODERN,
    RELATED_TASK,
    TaskState,
    created_task,
    detailed_task,
    legacy_task,
)

Context = ServerRequestContext[Any, Any]
Runner = Callable[[Context, CallToolRequestParams], Awaitable[HandlerResult]]


class TaskSource(Protocol):
    """Where tasks come from. Every call is made for the client of ``ctx``, who sees only tasks of their own."""

    #: The tools whose calls may become tasks, and those that cannot be called otherwise.
    tools: frozenset[str]
    required: frozenset[str]

    async def start(self, ctx: Context, params: CallToolRequestParams, *, always: bool) -> TaskState | HandlerResult:
        """Begin a call. A result instead of a task where it is done at once, unless ``always`` asks for a task."""

    async def find(self, ctx: Context, task_id: str) -> TaskState | None:
        """Return how a task stands; None where there is none of this client's."""

    async def cancel(self, ctx: Context, task_id: str) -> None:
        """Cancel a task; nothing where it has ended."""

    async def answer(self, ctx: Context, task_id: str, answers: Mapping[str, Any]) -> None:
        """Take answers to a task's requests; unknown keys and unusable answers are ignored."""

    def follow(self, ctx: Context, task_id: str) -> AsyncIterator[TaskState]:
        """Yield how a task stands whenever that changes, at least once, until it has ended."""


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to what a task asked."""

    input_responses: dict[str, Any]


class Tasks:
    """The tasks of one server."""

    def __init__(self, source: TaskSource, keep: Callable[[asyncio.Task[None]], None]) -> None:
        """``keep`` holds what goes on beside the calls: the status notifications."""
        self.source = source
        self._keep = keep

    def serve_on(self, server: Server[Any]) -> None:
        """Add the methods, the capability of each dialect, and the middleware of the older one."""
        server.extensions[EXTENSION] = {}
        server.add_request_handler("tasks/get", TaskParams, _only((MODERN, LEGACY), self._get))
        server.add_request_handler("tasks/cancel", TaskParams, _only((MODERN, LEGACY), self._cancel))
        server.add_request_handler("tasks/update", UpdateParams, _only((MODERN,), self._update))
        server.add_request_handler("tasks/result", TaskParams, _only((LEGACY,), self._result))
        server.middleware.append(self._legacy)

    def around(self, run: Runner) -> Runner:
        """Wrap the running of a tool: clients with the extension get a task for tools that can be one."""

        async def call(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
            if params.name in self.source.required:
                require_extension(ctx)
            if params.name not in self.source.tools or ctx.protocol_version != MODERN or not declares_tasks(ctx):
                return await run(ctx, params)
            begun = await self.source.start(ctx, params, always=False)
            return created_task(begun) if isinstance(begun, TaskState) else begun

        return call

    # The methods

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        state = await self._find(ctx, params.task_id)
        return detailed_task(state) if ctx.protocol_version == MODERN else legacy_task(state)

    async def _update(self, ctx: Context, params: UpdateParams) -> HandlerResult:
        await self._find(ctx, params.task_id)
        await self.source.answer(ctx, params.task_id, params.input_responses)
        return {}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        state = await self._find(ctx, params.task_id)
        if ctx.protocol_version == MODERN:
            await self.source.cancel(ctx, params.task_id)
            return {}
        if state.ended:
            raise MCPError(INVALID_PARAMS, f"Cannot cancel task: already in terminal status '{state.status}'")
        await self.source.cancel(ctx, params.task_id)
        return legacy_task(await self._find(ctx, params.task_id))

    async def _result(self, ctx: Context, params: TaskParams) -> HandlerResult:
        """Return a task's result once it is there. What it asks meanwhile is asked of the client on this stream."""
        await self._find(ctx, params.task_id)
        async with aclosing(self.source.follow(ctx, params.task_id)) as states:  # type: ignore[type-var]
            async for state in states:
                if state.ended:
                    return _payload(state)
                if state.status == "input_required":
                    await self._ask(ctx, state)
        raise MCPError(INTERNAL_ERROR, "The task came to no end")

    async def _ask(self, ctx: Context, state: TaskState) -> None:
        """Ask the client what the task asks, and give the answers to the task."""
        meta = {RELATED_TASK: {"taskId": state.task_id}}
        related = {
            key: each.model_copy(update={"params": each.params.model_copy(update={"meta": meta})})
            for key, each in state.requests.items()
        }
        await self.source.answer(ctx, state.task_id, await ask_client(ctx, related))

    async def _find(self, ctx: Context, task_id: str) -> TaskState:
        if ctx.protocol_version == MODERN:
            require_extension(ctx)
            _same_name(ctx, task_id)
        state = await self.source.find(ctx, task_id)
        if state is None:
            raise MCPError(INVALID_PARAMS, "Task not found")
        return state

    # 2025-11-25: what the SDK's own shapes have no room for

    async def _legacy(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        params = ctx.params or {}
        if ctx.protocol_version == LEGACY and ctx.method == "tools/call" and params.get("task") is not None:
            call = CallToolRequestParams.model_validate(params, by_name=False)
            if call.name in self.source.tools:
                return await self._create(ctx, call)
        told = await call_next(ctx)
        if isinstance(told, dict) and ctx.method == "initialize" and told.get("protocolVersion") == LEGACY:
            # No `list`: ids are enough, and without tokens there is nobody to list them for.
            told["capabilities"]["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
        return told

    async def _create(self, ctx: Context, call: CallToolRequestParams) -> HandlerResult:
        begun = await self.source.start(ctx, call, always=True)
        if not isinstance(begun, TaskState):
            refused = told_error(begun) if isinstance(begun, CallToolResult) else {}
            raise MCPError(INVALID_PARAMS, str(refused.get("error", "The call was refused")), refused)
        self._keep(asyncio.create_task(self._notify(ctx, begun)))
        return {"task": legacy_task(begun).model_dump(by_alias=True, mode="json", exclude_none=True)}

    async def _notify(self, ctx: Context, begun: TaskState) -> None:
        """Tell the client of every change of status. It may not hear it, and polls in any case."""
        told = legacy_task(begun).status
        with suppress(MCPError):
            async with aclosing(self.source.follow(ctx, begun.task_id)) as states:  # type: ignore[type-var]
                async for state in states:
                    task = legacy_task(state)
                    if task.status != told:
                        told = task.status
                        params = TaskStatusNotificationParams.model_validate(task.model_dump())
                        await ctx.session.send_notification(TaskStatusNotification(params=params))  # type: ignore[arg-type]


async def ask_client(ctx: Context, requests: Mapping[str, ElicitRequest]) -> dict[str, Any]:
    """Ask the client of an open request, one question after the other; return its answers.

    Raises MCPError where it cannot be asked, ValidationError where it answers something else.
    """
    answers = {}
    for key, request in requests.items():
        metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
        answer = await ctx.session.send_request(request, ElicitResult, metadata=metadata)
        answers[key] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    return answers


def declares_tasks(ctx: Context) -> bool:
    """Return whether the client of this request knows the extension."""
    declared = ctx.session.client_capabilities
    return EXTENSION in ((declared.extensions if declared else None) or {})


def require_extension(ctx: Context) -> None:
    """Raise the protocol's error where the client of this request does not know the extension."""
    if declares_tasks(ctx):
        return
    needed = MissingRequiredClientCapabilityErrorData(
        required_capabilities=ClientCapabilities(extensions={EXTENSION: {}})
    )
    raise MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"Client did not declare required extension {EXTENSION!r}",
        needed.model_dump(by_alias=True, mode="json", exclude_none=True),
    )


def _same_name(ctx: Context, task_id: str) -> None:
    """Refuse a request whose routing header names another task than its body."""
    headers = getattr(ctx.request, "headers", None) or {}
    named = headers.get(MCP_NAME_HEADER)
    if named is not None and decode_header_value(named) != task_id:
        raise MCPError(HEADER_MISMATCH, "Mcp-Name does not match params.taskId")


def _only(versions: tuple[str, ...], handler: Callable[[Context, Any], Awaitable[HandlerResult]]) -> Any:
    async def gated(ctx: Context, params: Any) -> HandlerResult:
        if ctx.protocol_version not in versions:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
        return await handler(ctx, params)

    return gated


def _payload(state: TaskState) -> HandlerResult:
    if state.result is None:
        error = state.error
        if error is not None:
            raise MCPError(error.code, error.message, error.data)
        raise MCPError(INVALID_PARAMS, "The task was cancelled")
    meta = {**(state.result.meta or {}), RELATED_TASK: {"taskId": state.task_id}}
    return CallToolResult.model_validate({**state.result.model_dump(), "meta": meta})
