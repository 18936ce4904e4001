"""Which scope a request needs. Whatever is not in these tables is refused to a token that has not all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult

from agentic_flywheel.access.grant import Grant, Scope
from agentic_flywheel.errors import MissingScope
from mcp_bridge.calling import Context
from mcp_bridge.owners import current_grant
from mcp_bridge.prompts import PROMPTS
from mcp_bridge.resources import scope_of_uri
from mcp_bridge.toolsets import scope_of_tool

_Params = Mapping[str, Any]


def _nothing(_: _Params) -> None:
    return None


def _asking(_: _Params) -> Scope:
    return Scope.ASK


def _tool(params: _Params) -> Scope:
    return scope_of_tool(str(params.get("name", "")))


def _resource(params: _Params) -> Scope:
    return scope_of_uri(str(params.get("uri", "")))


def _prompt(params: _Params) -> Scope | None:
    return next((each.scope for each in PROMPTS if each.name == params.get("name")), None)


def _subscriptions(params: _Params) -> Scope | None:
    """Return the widest scope of what is to be told: whoever may read may also ask after tasks of its own."""
    told = params.get("notifications")
    uris = told.get("resourceSubscriptions") if isinstance(told, Mapping) else None
    needed = {scope_of_uri(str(uri)) for uri in (uris if isinstance(uris, list) else ())}
    return max(needed, key=list(Scope).index, default=None)


#: By method. A list shows what the token may use, so anybody may ask for it.
NEEDS: dict[str, Callable[[_Params], Scope | None]] = {
    "initialize": _nothing,
    "ping": _nothing,
    "server/discover": _nothing,
    "logging/setLevel": _nothing,
    "tools/list": _nothing,
    "resources/list": _nothing,
    "resources/templates/list": _nothing,
    "prompts/list": _nothing,
    "resources/unsubscribe": _nothing,
    "tools/call": _tool,
    "resources/read": _resource,
    "resources/subscribe": _resource,
    "prompts/get": _prompt,
    "subscriptions/listen": _subscriptions,
    "tasks/get": _asking,
    "tasks/result": _asking,
    "tasks/update": _asking,
    "tasks/cancel": _asking,
}


def scope_needed(method: str, params: Any) -> Scope | None:
    """Return the scope that a request needs; None for none. Notifications need none."""
    if method.startswith("notifications/"):
        return None
    given = params if isinstance(params, Mapping) else {}
    return NEEDS[method](given) if method in NEEDS else Scope.ADMIN


def missing_scope(message: Any, grant: Grant) -> MissingScope | None:
    """Return the error where a grant does not allow what a JSON-RPC message asks; None where it does."""
    if not isinstance(message, dict) or not isinstance(method := message.get("method"), str):
        return None
    needed = scope_needed(method, message.get("params"))
    return None if grant.allows(needed) else MissingScope(str(needed), _named(method, message.get("params")))


def _named(method: str, params: Any) -> str:
    if not isinstance(params, Mapping):
        return method[:100]
    name = next((str(params[each]) for each in ("name", "uri") if each in params), "")
    return f"{method[:100]} {name[:100]}".strip()


async def within_scopes(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Refuse what the caller's token does not allow."""
    refused = missing_scope({"method": ctx.method, "params": ctx.params}, current_grant())
    if refused is not None:
        raise refused
    return await call_next(ctx)
