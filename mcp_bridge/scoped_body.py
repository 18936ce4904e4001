"""Read what a request asks before it is served: what is no message, or more than its token may do, is refused here."""

from __future__ import annotations

import json

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope

from agentic_flywheel.access.grant import Grant
from agentic_flywheel.access.grant import Scope as AccessScope
from agentic_flywheel.errors import MissingScope
from agentic_flywheel.errors.wording import Wording
from mcp_bridge.raw_messages import fault_of
from mcp_bridge.scopes import missing_scope
from mcp_bridge.sessions import MAX_BODY

REALM = 'Bearer realm="agentic-flywheel"'


async def refused_body(grant: Grant, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """Return the refusal of what is no message or what its token does not allow; and what gives the body to the next.

    The protocol would begin a session for what is no message. What is too long, or of another type, is left to it.
    """
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    everything = all(grant.allows(each) for each in AccessScope)
    if scope["method"] != "POST" or (everything and kind != "application/json"):
        return None, receive
    parts: list[Message] = []
    size = 0
    while size <= MAX_BODY:
        parts.append(await receive())
        size += len(parts[-1].get("body", b""))
        if parts[-1]["type"] != "http.request" or not parts[-1].get("more_body", False):
            break
    waiting = iter(parts)

    async def again() -> Message:
        return next(waiting, None) or await receive()

    if size > MAX_BODY or parts[-1]["type"] != "http.request":
        return None, again
    body = b"".join(each.get("body", b"") for each in parts)
    if kind == "application/json" and (fault := fault_of(body)) is not None:
        return JSONResponse(fault.response, 400), again
    missing = None if everything else _missing_in(body, grant)
    return (None if missing is None else forbidden(missing)), again


def _missing_in(body: bytes, grant: Grant) -> MissingScope | None:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    missing = (missing_scope(message, grant) for message in (asked if isinstance(asked, list) else [asked]))
    return next(filter(None, missing), None)


def forbidden(missing: MissingScope) -> Response:
    """Return the answer to a request that the token does not allow (RFC 6750, 3.1)."""
    shown = missing.describe().worded(Wording.MCP).model_dump(mode="json")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": missing.message, "data": shown}}
    challenge = f'{REALM}, error="insufficient_scope", scope="{missing.scope}"'
    return JSONResponse(body, 403, {"WWW-Authenticate": challenge})


def unauthorized() -> Response:
    """Return the answer to a request without a token that lets it in; the same whatever is wrong with the token."""
    reason = "a valid token is needed"
    challenge = f'{REALM}, error="invalid_token", error_description="{reason}"'
    return JSONResponse({"error": "invalid_token", "error_description": reason}, 401, {"WWW-Authenticate": challenge})
