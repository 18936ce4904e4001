"""Answer the calls that give, list and revise the feedback on answers."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import given_key, json_body, json_response, problem, unauthorized


class FeedbackCalls:
    """The handlers of the calls about the feedback on an installation's answers."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/v1/feedback", self.add_feedback)
        app.router.add_post("/api/v1/feedback/{flow}", self.add_feedback)
        app.router.add_get("/api/v1/feedback/{flow}", self.list_feedback)
        app.router.add_put("/api/v1/feedback/{feedback}", self.revise_feedback)

    async def add_feedback(self, request: web.Request) -> web.Response:
        if "flow" not in request.match_info and not self._installation.is_key(given_key(request)):
            return unauthorized()
        given = await _object(request)
        if given is None:
            return problem(400, "Unexpected end of JSON input")
        return json_response(self._installation.chats.add_feedback(given))

    async def list_feedback(self, request: web.Request) -> web.Response:
        return json_response(self._installation.chats.feedback_of(request.match_info["flow"]))

    async def revise_feedback(self, request: web.Request) -> web.Response:
        given = await _object(request)
        if given is None:
            return problem(400, "Unexpected end of JSON input")
        feedback_id = request.match_info["feedback"]
        if not self._installation.chats.revise_feedback(feedback_id, given):
            return problem(404, f"Feedback with id {feedback_id} not found")
        return json_response({"status": "OK"})


async def _object(request: web.Request) -> dict[str, Any] | None:
    try:
        return await json_body(request)
    except ValueError:
        return None
