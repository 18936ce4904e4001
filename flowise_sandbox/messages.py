"""Answer the calls that read and delete the messages of chats, and the one that aborts a run."""

from __future__ import annotations

from aiohttp import web

from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import given_key, json_body, json_response, problem, unauthorized


class Messages:
    """The handlers of the calls about an installation's chats."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/chatmessage/{flow}", self.messages)
        app.router.add_delete("/api/v1/chatmessage/{flow}", self.delete_messages)
        app.router.add_put("/api/v1/chatmessage/abort/{flow}/{chat}", self.abort)
        app.router.add_put("/api/v1/executions/{execution}", self.update_execution)

    async def messages(self, request: web.Request) -> web.Response:
        if not self._installation.is_key(given_key(request)):
            return unauthorized()
        query = request.query
        found = self._installation.chats.find(
            request.match_info["flow"], chat_id=query.get("chatId"), session_id=query.get("sessionId")
        )
        return json_response(found[::-1] if query.get("order") == "DESC" else found)

    async def delete_messages(self, request: web.Request) -> web.Response:
        if not self._installation.is_key(given_key(request)):
            return unauthorized()
        query = request.query
        affected = self._installation.chats.delete(
            request.match_info["flow"], chat_id=query.get("chatId"), session_id=query.get("sessionId")
        )
        return json_response({"raw": [], "affected": affected})

    async def abort(self, request: web.Request) -> web.Response:
        self._installation.abort(request.match_info["flow"], request.match_info["chat"])
        return json_response({"status": 200, "message": "Chat message aborted"})

    async def update_execution(self, request: web.Request) -> web.Response:
        if not self._installation.is_key(given_key(request)):
            return unauthorized()
        name = request.match_info["execution"]
        updated = self._installation.chats.update_run(name, str((await json_body(request)).get("state")))
        if updated is None:
            return problem(500, f"Error: executionsService.updateExecution - Execution {name} not found")
        return json_response(updated)
