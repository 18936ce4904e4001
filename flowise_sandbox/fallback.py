"""Say that the server lives, and which version it is; answer every path that has no handler of its own."""

from __future__ import annotations

from aiohttp import web

from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import PAGE, given_key, json_response, unauthorized

VERSION = "3.1.4"

#: Paths that need no key. A wrong method or path below them gets the page.
_OPEN = tuple(
    f"/api/v1/{path}"
    for path in ("prediction/", "chatflows-streaming", "chatflows/apikey/", "feedback", "ping", "version")
)


class Fallback:
    """The handlers of ``ping``, ``version`` and all that no other handler answers. They are added last."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/ping", self.ping)
        app.router.add_get("/api/v1/version", self.version)
        app.router.add_route("*", "/{anything:.*}", self.anything_else)

    async def ping(self, request: web.Request) -> web.Response:
        return web.Response(text="pong", content_type="text/html", charset="utf-8")

    async def version(self, request: web.Request) -> web.Response:
        return json_response({"version": VERSION})

    async def anything_else(self, request: web.Request) -> web.Response:
        """Refuse a path that is the API's in another case; answer any other path with the page."""
        path = request.path
        if path.lower().startswith("/api/v1") and not path.startswith(_OPEN):
            exact = path.startswith("/api/v1")
            if not exact or not self._installation.is_key(given_key(request)):
                return unauthorized()
        return web.Response(text=PAGE, content_type="text/html", charset="utf-8")
