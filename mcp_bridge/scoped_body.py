"""Read what a request asks before it is served, where its token may not do everything: HTTP says no in its status."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope

from agentic_flywheel.access.grant import Grant
from agentic_flywheel.access.grant import Scope as AccessScope
from agentic_flywheel.errors import MissingScope
from mcp_bridge.scopes import missing_scope
from mcp_bridge.sessions import MAX_BODY

REALM = 'Bearer realm="agentic-flywheel"'


async def refused_body(grant: Grant, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """Return the refusal of a request that its token does not allow, and what gives the body to whoever is next.

    What is no JSON, or too long, is left to the protocol: it refuses both.
    """
    if scope["method"] != "POST" or all(grant.allows(each) for each in AccessScope):
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

    try:
        asked = json.loads(b"".join(each.get("body", b"") for each in parts)) if size <= MAX_BODY else None
    except (ValueError, RecursionError):
        asked = None
    for message in asked if isinstance(asked, list) else [asked]:
        if (missing := missing_scope(message, grant)) is not None:
            return forbidden(missing), again
    return None, again


def forbidden(missing: MissingScope) -> Response:
    """Return the answer to a request that the token does not allow (RFC 6750, 3.1)."""
    told = missing.describe().model_dump(mode="json")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": missing.message, "data": told}}
    challenge = f'{REALM}, error="insufficient_scope", scope="{missing.scope}"'
    return JSONResponse(body, 403, {"WWW-Authenticate": challenge})


def unauthorized() -> Response:
    """Return the answer to a request without a token that lets it in; the same whatever is wrong with the token."""
    reason = "a valid token is needed"
    challenge = f'{REALM}, error="invalid_token", error_description="{reason}"'
    return JSONResponse({"error": "invalid_token", "error_description": reason}, 401, {"WWW-Authenticate": challenge})
