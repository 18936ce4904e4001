"""The MCP server: tools, resources, prompts, tasks and subscriptions, put together on the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    TextResourceContents,
)

from agentic_flywheel.errors import (
    ErrorInfo,
    FlywheelError,
    InvalidQuery,
    UnknownBatch,
    UnknownFlow,
    UnknownQuery,
    UnknownSession,
)
from mcp_bridge import asking, batches, conversations, figures, flows, profiles, traces
from mcp_bridge.bridge import Bridge
from mcp_bridge.calling import Context, call_of, perform
from mcp_bridge.failure import failure_result
from mcp_bridge.listening import Listeners
from mcp_bridge.prompts import PROMPTS, write_prompt
from mcp_bridge.query_tasks import QueryTasks
from mcp_bridge.resources import JSON, RESOURCES, TEMPLATES, read, written
from mcp_bridge.tasks import Tasks
from mcp_bridge.tool import Tool, success_result

NAME = "agentic-flywheel"
INSTRUCTIONS = """\
Agentic Flywheel is a durable queue in front of Flowise. flowise_query asks a question and waits for its answer; if
`done` is false, follow with flowise_poll. Ids and keys keep their names: a query_id, session_id, trace_id or flow_key
that one tool returns is what another takes. Errors say what to do next and when to retry.
"""

ALL_TOOLS: tuple[Tool, ...] = (
    *asking.TOOLS,
    batches.flowise_batch,
    *profiles.TOOLS,
    *flows.TOOLS,
    *conversations.TOOLS,
    *traces.TOOLS,
    *figures.TOOLS,
)

_MINUTES = 5 * 60_000
_LISTED = CacheHint(ttl_ms=_MINUTES, scope="public")
_HINTS = {
    "tools/list": _LISTED,
    "prompts/list": _LISTED,
    "resources/list": _LISTED,
    "resources/templates/list": _LISTED,
    "server/discover": _LISTED,
    "resources/read": CacheHint(ttl_ms=5_000, scope="private"),
}

#: Failures that the caller's arguments are the reason of.
_CALLERS = (InvalidQuery, UnknownQuery, UnknownBatch, UnknownSession, UnknownFlow)


def build_server(bridge: Bridge) -> Server[Bridge]:
    """Return the server of a bridge; it closes the bridge when it stops."""
    tools = {tool.name: tool for tool in ALL_TOOLS if bridge.changes or not tool.changes}
    tasks = Tasks(QueryTasks(bridge, tools), bridge.keep)
    listeners = Listeners(bridge, tasks)
    served = _Served(bridge, tools)

    @asynccontextmanager
    async def lifespan(_: Server[Bridge]) -> AsyncIterator[Bridge]:
        try:
            yield bridge
        finally:
            await bridge.close()

    server: Server[Bridge] = Server(
        NAME,
        title="Agentic Flywheel",
        version=version(NAME),
        description="A durable, observable queue in front of Flowise",
        instructions=INSTRUCTIONS,
        cache_hints=_HINTS,  # type: ignore[arg-type]
        lifespan=lifespan,
        # No argument of ours is repeated in a header, so there is nothing to compare.
        get_tool_input_schema=lambda _: None,
        on_list_tools=served.list_tools,
        on_list_resources=served.list_resources,
        on_list_resource_templates=served.list_templates,
        on_read_resource=served.read_resource,
        on_subscribe_resource=listeners.subscribe,
        on_unsubscribe_resource=listeners.unsubscribe,
        on_subscriptions_listen=listeners.listen,
        on_list_prompts=served.list_prompts,
        on_get_prompt=served.get_prompt,
    )
    server.add_request_handler("tools/call", CallToolRequestParams, tasks.around(served.call_tool))
    # Our own traces tell more than a span per message would.
    server.middleware.clear()
    server.middleware.append(_named_failures)
    tasks.serve_on(server)
    return server


async def _named_failures(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Turn an expected failure outside a tool into the protocol's error, with the error object as its data."""
    try:
        return await call_next(ctx)
    except FlywheelError as error:
        info = error.describe().model_dump(mode="json")
        code = INVALID_PARAMS if isinstance(error, _CALLERS) else INTERNAL_ERROR
        raise MCPError(code, error.message, info) from None


class _Served:
    """The answers to what clients list, read and call."""

    def __init__(self, bridge: Bridge, tools: dict[str, Tool]) -> None:
        self._bridge = bridge
        self._tools = tools
        self._listed = ListToolsResult(tools=[tool.listed() for tool in tools.values()])

    async def list_tools(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return self._listed

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, _no_tool(params.name))
        done = await perform(tool, tool.run, self._bridge, ctx, params.arguments)
        return failure_result(done) if isinstance(done, ErrorInfo) else success_result(done)

    async def list_resources(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        return ListResourcesResult(resources=[each.listed() for each in RESOURCES])

    async def list_templates(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))

    async def read_resource(self, ctx: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        uri = str(params.uri)
        try:
            told = await read(call_of(self._bridge, ctx), uri)
        except (UnknownQuery, UnknownSession) as unknown:
            raise MCPError(INVALID_PARAMS, unknown.message, {"uri": uri}) from None
        if told is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=JSON, text=written(told))])

    async def list_prompts(self, ctx: Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult(prompts=[each.listed() for each in PROMPTS])

    async def get_prompt(self, ctx: Context, params: GetPromptRequestParams) -> GetPromptResult:
        found = await write_prompt(call_of(self._bridge, ctx), params.name, params.arguments or {})
        if found is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        return found


def _no_tool(name: str) -> str:
    if any(tool.name == name for tool in ALL_TOOLS):
        return f"Tool {name} is switched off: it changes what all share (--read-only; over HTTP: --allow-changes)"
    return f"Unknown tool: {name}"
