"""Answer predictions, plain and streamed, as real servers were recorded to do, also where that is unusual."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from agentic_flywheel.given import text_of_form
from flowise_sandbox import script
from flowise_sandbox.agentflow import agentflow
from flowise_sandbox.answers import filled_in, reply
from flowise_sandbox.behaviour import OVERRIDABLE, VARIABLES, Fault, Window
from flowise_sandbox.chats import message, now_text
from flowise_sandbox.flows import SandboxFlow, Style, is_uuid
from flowise_sandbox.installation import Installation, Live
from flowise_sandbox.pages import PAGE, broken, encode, given_key, gone, json_body, json_response, problem, silence
from flowise_sandbox.script import Drop, FlowRun, Pause, ScriptStep, SentEvent
from flowise_sandbox.uploads import refusal_of_uploads

Json = dict[str, Any]
Headers = dict[str, str]

_PROCEED = "\n\nProceed with it?"
#: What Flowise asks before a tool.
_ATTEMPT = "\nAttempting to use tool:\n```json\n%s\n```"
_ROLES = ("apiMessage", "userMessage")
_BAD_HISTORY = (
    'Invalid history format. Each history item must have: { role: "apiMessage" | "userMessage", content: string }'
)
WORKSPACE = "ae73af9f-bd85-464e-84d8-ffffccef2bc5"
HEARTBEAT = b":heartbeat\n\n"


class Predictions:
    """The handlers of predictions for one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/v1/prediction/{flow}", self.predict)
        app.router.add_post("/api/v1/prediction/", self.predict_nothing)

    async def predict_nothing(self, request: web.Request) -> web.Response:
        return problem(412, "Error: predictionsController.createPrediction - id not provided!")

    async def predict(self, request: web.Request) -> web.StreamResponse:
        flow_id = request.match_info["flow"]
        flow = self._installation.flows.get(flow_id)
        window = self._installation.conduct(flow_id).admit(time.monotonic()) if flow else None
        limits = _limit_headers(window)
        if window is not None and window.refused:
            return web.Response(
                status=429, text="Too many requests, slow down", content_type="text/html", headers=limits
            )
        try:
            body = await json_body(request)
        except ValueError as unreadable:
            return problem(400, str(unreadable))
        streamed = body.get("streaming") in (True, "true")
        if flow is None:
            if streamed:
                # Flowise never answers here: it loses the error before it opens the stream.
                return await silence(request, self._installation.closing)
            if not is_uuid(flow_id):
                return problem(400, "Invalid Chatflow ID")
            return problem(404, f"Chatflow {flow_id} not found in the database!")
        self._installation.counts.add(flow_id, body)
        fault = self._installation.conduct(flow_id).next_fault()
        if fault is Fault.PAGE:
            return web.Response(text=PAGE, content_type="text/html")
        if fault is Fault.GATEWAY:
            return web.Response(status=502, text="<html>502 Bad Gateway</html>", content_type="text/html")
        if fault is Fault.HANG and not streamed:
            return await silence(request, self._installation.closing)
        run, refused = self._begun(flow, body, fault, given_key(request))
        steps = script.refusal(run, script.BUILD + refused) if refused else self._script(run)
        streamed = streamed and flow.style.streams
        live = self._installation.begin(run, streamed=streamed)
        try:
            if streamed:
                return await self._stream(request, live, steps, limits)
            return await self._plain(request, live, steps, limits)
        finally:
            self._installation.end(live)

    # Before a run

    def _begun(self, flow: SandboxFlow, body: Json, fault: Fault | None, key: str | None) -> tuple[FlowRun, str | None]:
        """Return the run for a request, and the error for which it must not begin, if any."""
        behaviour = self._installation.conduct(flow.id).behaviour
        override = body.get("overrideConfig")
        override = override if isinstance(override, dict) else {}
        given_chat, given_session = body.get("chatId"), override.get("sessionId")
        refused: str | None = None
        if given_chat is not None and not isinstance(given_chat, str):
            given_chat, refused = None, "Invalid chatId: must be a string"
        chat_id = given_chat or given_session or str(uuid.uuid4())
        session_id = given_session or chat_id
        earlier: str | None = None
        history = body.get("history")
        if history:
            if not _well_formed(history):
                refused = _BAD_HISTORY
            else:
                earlier = next((each["content"] for each in reversed(history) if each["role"] == "userMessage"), None)
        elif flow.style.remembers:
            earlier = self._installation.chats.last_question(flow.id, session_id)
        honoured = {key: override[key] for key in OVERRIDABLE if key in override} if behaviour.overrides else {}
        if isinstance(variables := override.get("vars"), dict) and behaviour.overrides:
            honoured["vars"] = {key: variables[key] for key in VARIABLES if key in variables}
        said = reply(flow, _asked(body), earlier=earlier, overrides=honoured)
        if flow.style is Style.FORM:
            said = said.model_copy(update={"text": filled_in(flow, _form(body))})
        if flow.style.agentic and body.get("question") and _form(body):
            refused = "Question and form cannot be provided at the same time"
        refused = refused or refusal_of_uploads(body)
        if fault is Fault.EMPTY:
            said = said.model_copy(update={"text": ""})
        run = FlowRun(
            flow=flow,
            behaviour=behaviour,
            fault=fault,
            body=body,
            chat_id=chat_id,
            session_id=session_id,
            message_id=str(uuid.uuid4()),
            execution_id=str(uuid.uuid4()),
            reply=said,
        )
        if fault is Fault.UNAUTHORIZED or (behaviour.key is not None and key != behaviour.key):
            return run, "Unauthorized"
        return run, refused or self._resumed(run)

    def _resumed(self, run: FlowRun) -> str | None:
        """Resume a stopped run where the request has a person's decision. Return the error, if any."""
        careful = run.flow.style is Style.CAREFUL
        if not run.flow.style.asks_person:
            return None
        if not isinstance(run.body.get("humanInput"), dict):
            asked = _ATTEMPT % json.dumps(run.tool.wanted, indent=2) if careful else _PROCEED
            run.reply = run.reply.model_copy(update={"text": asked})
            return None
        last = self._installation.chats.last_run(run.flow.id, run.session_id)
        if last is None:
            return f"No previous execution found for session {run.session_id}"
        if last["state"] != "STOPPED":
            return (
                f"Cannot resume execution {last['id']} because it is in '{last['state']}' state. Only executions in "
                "'STOPPED' state (or 'ERROR' after 'STOPPED') can be resumed."
            )
        last["state"] = "INPROGRESS"
        run.execution_id, run.resumed, run.stops = last["id"], last["nodes"], last["stops"]
        said = "approved" if run.proceeds else "rejected"
        if careful:
            said = "The calculator says 42." if run.proceeds else "Without the calculator I do not know."
        elif run.proceeds and run.stops < run.behaviour.stops:
            said = _PROCEED
        run.reply = run.reply.model_copy(update={"text": said})
        return None

    def _script(self, run: FlowRun) -> Iterator[ScriptStep]:
        return agentflow(run) if run.flow.style.agentic else script.chatflow(run)

    # During a run

    async def _plain(
        self, request: web.Request, live: Live, steps: Iterator[ScriptStep], headers: Headers
    ) -> web.StreamResponse:
        run, began = live.run, now_text()
        for step in steps:
            if isinstance(step, Pause):
                if step.seconds:
                    await live.pause(step.seconds, interruptible=step.interruptible)
            elif isinstance(step, Drop):
                return broken(request)
        if run.failure is not None:
            return problem(500, run.failure, headers)
        self._store(run, began)
        return json_response(run.plain(), headers)

    async def _stream(
        self, request: web.Request, live: Live, steps: Iterator[ScriptStep], headers: Headers
    ) -> web.StreamResponse:
        run, began = live.run, now_text()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        line = _Line(response, live)
        await line.open(request)
        if run.fault is Fault.HANG:
            while not (gone(request) or self._installation.closing.is_set()):
                await asyncio.sleep(min(run.behaviour.heartbeat, 0.25))
                await line.send(HEARTBEAT)
            return response
        for step in steps:
            if isinstance(step, SentEvent):
                line.add(step)
            elif isinstance(step, Drop):
                await line.flush()
                return broken(request)
            elif step.seconds:
                await line.flush()
                await self._wait(live, step, line)
        await line.flush()
        # A flow goes on without its caller, so its answer is stored in any case.
        if run.failure is None:
            self._store(run, began)
        if live.superseded:
            return await silence(request, self._installation.closing)
        return response

    async def _wait(self, live: Live, step: Pause, line: _Line) -> None:
        every, left = live.run.behaviour.heartbeat, step.seconds
        while left > every and not live.interrupt.is_set():
            await live.pause(every, interruptible=step.interruptible)
            await line.send(HEARTBEAT)
            left -= every
        await live.pause(left, interruptible=step.interruptible)

    # After a run

    def _store(self, run: FlowRun, began: str) -> None:
        chats, style = self._installation.chats, run.flow.style
        ids = {"chat_id": run.chat_id, "session_id": run.session_id}
        more: Json = {**run.memory, **run.doings}
        if run.next_questions:
            more["followUpPrompts"] = json.dumps(run.next_questions)
        if style.agentic:
            execution = _execution(run, began)
            more |= {"executionId": run.execution_id, "execution": execution}
            if style.asks_person:
                stops = run.stops + (run.state == "STOPPED")
                state = {"id": run.execution_id, "state": run.state, "nodes": run.nodes, "stops": stops}
                chats.remember_run(run.flow.id, run.session_id, state)
        asked, answered = _asked(run.body), run.reply.text
        chats.add(
            message("userMessage", run.flow.id, asked, message_id=str(uuid.uuid4()), **ids, **more)
            | {"createdDate": began}
        )
        if style is Style.DOCUMENTS:
            more["sourceDocuments"] = list(run.reply.sources)
        if run.action:
            more["action"] = run.action
        chats.add(message("apiMessage", run.flow.id, answered, message_id=run.message_id, **ids, **more))


class _Line:
    """Opens a stream and writes to it. Writes nothing once it is superseded or the client has gone."""

    def __init__(self, response: web.StreamResponse, live: Live) -> None:
        self._response, self._live = response, live
        self._waiting: list[bytes] = []
        self._gone = False

    async def open(self, request: web.Request) -> None:
        try:
            await self._response.prepare(request)
        except ConnectionError:
            self._gone = True

    def add(self, event: SentEvent) -> None:
        told = encode({"event": event.name, "data": event.data})
        self._waiting.append(b"message:\ndata:" + told + b"\n\n")

    async def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            await self.send(b"".join(waiting))

    async def send(self, data: bytes) -> None:
        if self._gone or self._live.superseded:
            return
        try:
            await self._response.write(data)
        except ConnectionError:
            self._gone = True


def _form(body: Json) -> Json:
    given = body.get("form")
    return given if isinstance(given, dict) else {}


def _asked(body: Json) -> str:
    question = body.get("question", text_of_form(_form(body)))
    return question if isinstance(question, str) else json.dumps(question, separators=(",", ":"))


def _well_formed(history: Any) -> bool:
    return isinstance(history, list) and all(
        isinstance(each, dict) and each.get("role") in _ROLES and isinstance(each.get("content"), str)
        for each in history
    )


def _limit_headers(window: Window | None) -> Headers:
    if window is None:
        return {}
    headers = {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.remaining),
        "X-RateLimit-Reset": str(int(time.time() + window.reset)),
    }
    return {**headers, "Retry-After": str(window.retry_after)} if window.refused else headers


def _execution(run: FlowRun, began: str) -> Json:
    return {
        "id": run.execution_id,
        "executionData": json.dumps(run.nodes),
        "state": run.state,
        "agentflowId": run.flow.id,
        "sessionId": run.session_id,
        "action": None,
        "isPublic": None,
        "createdDate": began,
        "updatedDate": now_text(),
        "stoppedDate": None,
        "workspaceId": WORKSPACE,
    }
