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
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    TextResourceContents,
)

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.errors import (
    AlreadyDecided,
    DecisionNotTaken,
    EarlierTurnAsks,
    ErrorInfo,
    FlywheelError,
    InvalidQuery,
    MissingScope,
    NothingToDecide,
    UnknownBatch,
    UnknownFlow,
    UnknownQuery,
    UnknownSession,
)
from mcp_bridge.bridge import Bridge
from mcp_bridge.calling import Context, call_of, perform
from mcp_bridge.discretion import told
from mcp_bridge.elicitation import Elicitation
from mcp_bridge.failure import failure_result
from mcp_bridge.flow_tools import flow_tools
from mcp_bridge.listening import Listeners
from mcp_bridge.owners import current_grant
from mcp_bridge.prompts import PROMPTS, write_prompt
from mcp_bridge.query_tasks import QueryTasks
from mcp_bridge.resources import JSON, RESOURCES, TEMPLATES, read, scope_of_template, written
from mcp_bridge.results import success_result
from mcp_bridge.scopes import within_scopes
from mcp_bridge.tasks import Tasks
from mcp_bridge.tool import Tool
from mcp_bridge.toolsets import ALL_TOOLS, selected

NAME = "agentic-flywheel"
INSTRUCTIONS = """\
Agentic Flywheel is a durable queue in front of Flowise. flowise_query asks a question and waits for its answer; if
`done` is false, follow with flowise_poll; if its flow asks a person, with flowise_resume. Ids and keys keep their
names: a query_id, session_id, trace_id or flow_key
that one tool returns is what another takes. Errors say what to do next and when to retry.
"""

_MINUTES = 5 * 60_000
#: Characters of a resource's address that are read, and of a name that is told to be unknown.
_LONGEST_URI, _LONGEST_NAME = 2000, 200
#: What is listed depends on the token.
_LISTED = CacheHint(ttl_ms=_MINUTES, scope="private")
_HINTS = {
    "tools/list": _LISTED,
    "prompts/list": _LISTED,
    "resources/list": _LISTED,
    "resources/templates/list": _LISTED,
    "server/discover": CacheHint(ttl_ms=_MINUTES, scope="public"),
    "resources/read": CacheHint(ttl_ms=5_000, scope="private"),
}

#: Failures that the caller's arguments are the reason of.
_CALLERS = (
    AlreadyDecided,
    DecisionNotTaken,
    EarlierTurnAsks,
    InvalidQuery,
    MissingScope,
    NothingToDecide,
    UnknownQuery,
    UnknownBatch,
    UnknownSession,
    UnknownFlow,
)


def build_server(bridge: Bridge) -> Server[Bridge]:
    """Return the server of a bridge; it closes the bridge when it stops. Raises InvalidSetting."""
    chosen, one_per_flow = selected(bridge.tools, changes=bridge.changes)
    tools = {tool.name: tool for tool in chosen}
    queries = QueryTasks(bridge, tools)
    tasks = Tasks(queries, lambda task: bridge.keep(task, current_grant().token_id))
    listeners = Listeners(bridge, tasks)
    served = _Served(bridge, tools, Elicitation(queries), one_per_flow=one_per_flow)

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
    server.middleware += [_named_failures, within_scopes]
    tasks.serve_on(server)
    return server


async def _named_failures(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Turn an expected failure outside a tool into the protocol's error, with the error object as its data."""
    try:
        return await call_next(ctx)
    except FlywheelError as error:
        info = told(error)
        code = INVALID_PARAMS if isinstance(error, _CALLERS) else INTERNAL_ERROR
        raise MCPError(code, info.error, info.model_dump(mode="json")) from None


class _Served:
    """The answers to what clients list, read and call."""

    def __init__(self, bridge: Bridge, tools: dict[str, Tool], elicitation: Elicitation, *, one_per_flow: bool) -> None:
        self._bridge = bridge
        self._elicitation = elicitation
        self._tools = tools
        self._one_per_flow = one_per_flow
        self._limit = bridge.settings.mcp_result_limit

    def _offered(self, ctx: Context) -> dict[str, Tool]:
        if not self._one_per_flow:
            return self._tools
        return {**flow_tools(call_of(self._bridge, ctx).producer.catalog), **self._tools}

    async def list_tools(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[each.listed for each in self._offered(ctx).values() if _may(each.scope)])

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        tool = self._tools.get(params.name) or self._offered(ctx).get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, _no_tool(params.name))
        done = await perform(tool, self._elicitation.around(tool, ctx, params), self._bridge, ctx, params.arguments)
        if isinstance(done, InputRequiredResult):
            return done
        return failure_result(done) if isinstance(done, ErrorInfo) else success_result(done, self._limit)

    async def list_resources(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        return ListResourcesResult(resources=[each.listed() for each in RESOURCES if _may(each.scope)])

    async def list_templates(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(
            resource_templates=[each for each in TEMPLATES if _may(scope_of_template(each))]
        )

    async def read_resource(self, ctx: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        uri = str(params.uri)
        if len(uri) > _LONGEST_URI:
            raise MCPError(INVALID_PARAMS, f"Resource not found: its address has more than {_LONGEST_URI} characters")
        try:
            told = await read(call_of(self._bridge, ctx), uri)
        except (UnknownQuery, UnknownSession, UnknownBatch) as unknown:
            raise MCPError(INVALID_PARAMS, unknown.message, {"uri": uri}) from None
        if told is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=JSON, text=written(told))])

    async def list_prompts(self, ctx: Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult(prompts=[each.listed() for each in PROMPTS if _may(each.scope)])

    async def get_prompt(self, ctx: Context, params: GetPromptRequestParams) -> GetPromptResult:
        found = await write_prompt(call_of(self._bridge, ctx), params.name, params.arguments or {})
        if found is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name[:_LONGEST_NAME]}")
        return found


def _may(scope: Scope) -> bool:
    return current_grant().allows(scope)


def _no_tool(name: str) -> str:
    known = next((tool for tool in ALL_TOOLS if tool.name == name), None)
    if known is None:
        return f"Unknown tool: {name[:_LONGEST_NAME]}"
    needed = "--allow-changes, and --tools with it" if known.changes else "--tools with it"
    return f"Tool {name} is not offered here: the bridge was started without {needed}"
