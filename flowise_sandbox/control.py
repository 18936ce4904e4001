"""Control the sandbox over HTTP: set the behaviour of flows, count their calls. Flowise itself has no such paths.

``PUT /sandbox/behaviour`` and ``PUT /sandbox/flows/{id}/behaviour`` take a ``Behaviour``, ``PUT /sandbox/flows/{id}``
a flow. ``GET /sandbox/calls[?question=…]`` returns the counts. ``POST /sandbox/reset`` drops all state.
"""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from flowise_sandbox.behaviour import Behaviour
from flowise_sandbox.flows import SandboxFlow
from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import json_body, json_response


class Control:
    """The handlers of the control paths of one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_put("/sandbox/behaviour", self.set_default)
        app.router.add_put("/sandbox/flows/{flow}/behaviour", self.set_behaviour)
        app.router.add_put("/sandbox/flows/{flow}", self.add_flow)
        app.router.add_get("/sandbox/calls", self.calls)
        app.router.add_post("/sandbox/reset", self.reset)

    async def set_default(self, request: web.Request) -> web.Response:
        try:
            behaviour = Behaviour.model_validate(await json_body(request))
        except ValueError as refused:
            return _refused(refused)
        self._installation.behave_by_default(behaviour)
        return json_response(behaviour.model_dump(mode="json"))

    async def set_behaviour(self, request: web.Request) -> web.Response:
        flow_id = request.match_info["flow"]
        if flow_id not in self._installation.flows and flow_id not in self._installation.models:
            return json_response({"error": f"no flow {flow_id}"}, status=404)
        try:
            behaviour = Behaviour.model_validate(await json_body(request))
        except ValueError as refused:
            return _refused(refused)
        self._installation.behave(flow_id, behaviour)
        return json_response(behaviour.model_dump(mode="json"))

    async def add_flow(self, request: web.Request) -> web.Response:
        try:
            given = {**await json_body(request), "id": request.match_info["flow"]}
            flow = SandboxFlow.model_validate(given)
        except ValueError as refused:
            return _refused(refused)
        self._installation.add(flow)
        return json_response(flow.model_dump(mode="json"))

    async def calls(self, request: web.Request) -> web.Response:
        return json_response(self._installation.counts.describe(request.query.get("question")))

    async def reset(self, request: web.Request) -> web.Response:
        self._installation.reset()
        return json_response({"status": "OK"})


def _refused(refused: ValueError) -> web.Response:
    if isinstance(refused, ValidationError):
        complaints = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in refused.errors()]
        return json_response({"error": "; ".join(complaints)}, status=400)
    return json_response({"error": str(refused)}, status=400)
