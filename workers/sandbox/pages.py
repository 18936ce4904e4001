"""Read and write HTTP as Flowise's web server does, its oddities included."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

#: What any wrong path or method gets, with status 200.
PAGE = "<!DOCTYPE html><html><head><title>Flowise</title></head><body><div id='root'></div></body></html>"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: Any) -> bytes:
    """Return JSON as JavaScript writes it."""
    return _ENCODER.encode(value).encode()


def json_response(value: Any, headers: dict[str, str] | None = None, *, status: int = 200) -> web.Response:
    body = encode(value)
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return Flowise's form of an error."""
    return json_response(
        {"statusCode": status, "success": False, "message": message, "stack": {}}, headers, status=status
    )


def unauthorized() -> web.Response:
    """Return the management API's form of a refused key."""
    return json_response({"error": "Unauthorized Access"}, status=401)


def given_key(request: web.Request) -> str | None:
    """Return the key of a request; ``Bearer`` may be left out."""
    given = request.headers.get("Authorization")
    return None if given is None else given.removeprefix("Bearer ").strip()


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return a request's body. What is no JSON by its content type is no error but nothing. Raises ValueError."""
    if request.content_type.startswith("multipart/"):
        form = await request.post()
        return {key: value for key, value in form.items() if isinstance(value, str)}
    body = await request.read()
    if request.content_type != "application/json" or not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("Unexpected end of JSON input") from None
    return found if isinstance(found, dict) else {}
