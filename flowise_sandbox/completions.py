"""Answer chat completions as OpenAI does: the same flows, the same behaviour, in another protocol."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from flowise_sandbox.answers import reply, tokens
from flowise_sandbox.behaviour import Fault, Window
from flowise_sandbox.counts import digest_of
from flowise_sandbox.flows import SandboxFlow
from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import PAGE, broken, encode, given_key, gone, json_body, json_response, silence
from flowise_sandbox.script import Drop, FlowRun, Pause, SentEvent, speak

Json = dict[str, Any]
Headers = dict[str, str]

#: Status, code, type and words of the failures that come instead of an answer.
_FAILURES: dict[Fault, tuple[int, str | None, str, str]] = {
    Fault.ERROR: (400, None, "invalid_request_error", "boom"),
    Fault.UNAUTHORIZED: (401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided: sk-sandbox."),
    Fault.PROVIDER_KEY: (401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided: sk-sandbox."),
    Fault.PROVIDER_LIMIT: (429, "rate_limit_exceeded", "requests", "Rate limit reached for sandbox"),
    Fault.PROVIDER_DOWN: (503, None, "server_error", "The engine is currently overloaded, please try again later"),
    Fault.QUOTA: (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
    Fault.CONTEXT: (
        400, "context_length_exceeded", "invalid_request_error", "This model's maximum context length is 8192 tokens.",
    ),
    Fault.FILTER: (
        400, "content_filter", "invalid_request_error", "The prompt triggered our content management policy.",
    ),
}  # fmt: skip
_CUT = "The server had an error while processing your request"


class Completions:
    """The handlers of chat completions, and of the list of models, for one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_get("/v1/models", self.list_models)

    async def list_models(self, request: web.Request) -> web.Response:
        told = [{"id": each, "object": "model", "created": 0, "owned_by": "sandbox"} for each in self._known()]
        return json_response({"object": "list", "data": told})

    def _known(self) -> dict[str, SandboxFlow]:
        return {**self._installation.flows, **self._installation.models}

    async def complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await json_body(request)
        except ValueError as unreadable:
            return _problem(400, None, "invalid_request_error", str(unreadable))
        model = str(body.get("model"))
        flow = self._known().get(model)
        if flow is None:
            words = f"The model `{model}` does not exist or you do not have access to it."
            return _problem(404, "model_not_found", "invalid_request_error", words)
        conduct = self._installation.conduct(flow.id)
        window = conduct.admit(time.monotonic())
        limits = _limit_headers(window)
        if window is not None and window.refused:
            return _problem(429, "rate_limit_exceeded", "requests", f"Rate limit reached for {model}", limits)
        question, earlier, system = _asked(body)
        self._installation.counts.add(flow.id, {"question": question, **_without_images(body)})
        fault = conduct.next_fault()
        if fault is Fault.PAGE:
            return web.Response(text=PAGE, content_type="text/html")
        if fault is Fault.GATEWAY:
            return web.Response(status=502, text="<html>502 Bad Gateway</html>", content_type="text/html")
        if conduct.behaviour.key is not None and given_key(request) != conduct.behaviour.key:
            fault = Fault.UNAUTHORIZED
        if fault is not None and fault in _FAILURES:
            wait = {"retry-after": "1"} if fault is Fault.PROVIDER_LIMIT else {}
            return _problem(*_FAILURES[fault], limits | wait)
        honoured = {"maxTokens": body.get("max_tokens", body.get("max_completion_tokens")), "systemMessage": system}
        said = reply(flow, question, earlier=earlier, overrides={key: told for key, told in honoured.items() if told})
        if fault is Fault.EMPTY:
            said = said.model_copy(update={"text": ""})
        run = FlowRun(
            flow=flow,
            behaviour=conduct.behaviour,
            fault=fault,
            body=body,
            chat_id="",
            session_id="",
            message_id=f"chatcmpl-{uuid.uuid4()}",
            execution_id="",
            reply=said,
        )
        told = _Completion(run, model, question)
        if body.get("stream") is True:
            return await self._stream(request, told, limits)
        return await self._plain(request, told, limits)

    async def _plain(self, request: web.Request, told: _Completion, headers: Headers) -> web.StreamResponse:
        run = told.run
        if run.fault is Fault.HANG:
            return await silence(request, self._installation.closing)
        for step in told.steps():
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Drop):
                return broken(request)
        if run.fault is Fault.PROVIDER_CUT:
            return _problem(500, None, "server_error", _CUT, headers)
        message = {"role": "assistant", "content": run.reply.text}
        choice = {"index": 0, "message": message, "finish_reason": told.finish}
        return json_response({**told.head("chat.completion"), "choices": [choice], "usage": told.usage}, headers)

    async def _stream(self, request: web.Request, told: _Completion, headers: Headers) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        try:
            await response.prepare(request)
            if told.run.fault is Fault.HANG:
                while not (gone(request) or self._installation.closing.is_set()):
                    await asyncio.sleep(min(told.run.behaviour.heartbeat, 0.25))
                    await response.write(b": waiting\n\n")
                raise ConnectionResetError
            await response.write(told.chunk({"role": "assistant", "content": ""}))
            for step in told.steps():
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    if gone(request):
                        raise ConnectionResetError
                elif isinstance(step, Drop):
                    return broken(request)
                else:
                    await response.write(told.chunk({"content": step.data}))
            for last in told.last():
                await response.write(last)
        except ConnectionError:
            # Who leaves a stream ends it.
            self._installation.counts.aborted.append(told.question)
        return response


class _Completion:
    """One completion under way."""

    def __init__(self, run: FlowRun, model: str, question: str) -> None:
        self.run, self.question = run, question
        self._model = model
        self._pieces = tokens(run.reply.text)

    def head(self, kind: str) -> Json:
        return {"id": self.run.message_id, "object": kind, "created": int(time.time()), "model": self._model}

    def steps(self) -> Iterator[SentEvent | Pause | Drop]:
        yield Pause(self.run.behaviour.latency)
        yield from speak(self.run, self._pieces)

    def chunk(self, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _frame({**self.head("chat.completion.chunk"), "choices": [choice]})

    def last(self) -> Iterator[bytes]:
        """Yield what comes behind the text."""
        if self.run.fault is Fault.PROVIDER_CUT:
            yield _frame(_error(None, "server_error", _CUT))
            return
        if self.run.fault is not Fault.UNFINISHED:
            yield self.chunk({}, self.finish)
        options = self.run.body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") is True:
            yield _frame({**self.head("chat.completion.chunk"), "choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    @property
    def finish(self) -> str | None:
        if self.run.fault is Fault.UNFINISHED:
            return None
        most = self.run.body.get("max_tokens", self.run.body.get("max_completion_tokens"))
        return "length" if isinstance(most, int) and len(self._pieces) >= most else "stop"

    @property
    def usage(self) -> Json:
        given = sum(len(_text(each.get("content")).split()) for each in _messages(self.run.body))
        made = len(self._pieces)
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _frame(value: Json) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


def _error(code: str | None, kind: str, words: str) -> Json:
    return {"error": {"message": words, "type": kind, "param": None, "code": code}}


def _problem(status: int, code: str | None, kind: str, words: str, headers: Headers | None = None) -> web.Response:
    return json_response(_error(code, kind, words), headers, status=status)


def _messages(body: Json) -> list[Json]:
    messages = body.get("messages")
    return [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []


def _asked(body: Json) -> tuple[str, str | None, str]:
    """Return the question, the one before it, and what the model was told before the conversation."""
    messages = _messages(body)
    asked = [_text(each.get("content")) for each in messages if each.get("role") == "user"]
    system = "\n\n".join(_text(each.get("content")) for each in messages if each.get("role") == "system")
    return asked[-1] if asked else "", asked[-2] if len(asked) > 1 else None, system


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(each.get("text", "")) for each in content if isinstance(each, dict)).strip()
    return content if isinstance(content, str) else ""


def _without_images(body: Json) -> Json:
    """Return a request with the size and SHA-256 of each image in place of the image."""
    return {**body, "messages": [{**each, "content": _without(each.get("content"))} for each in _messages(body)]}


def _without(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_summary(each) if isinstance(each, dict) and each.get("type") == "image_url" else each for each in content]


def _summary(part: Json) -> Json:
    url = str(part.get("image_url", {}).get("url", ""))
    if not url.startswith("data:"):
        return part
    head, _, data = url.partition(",")
    return {"type": "image_url", "image_url": {"kind": head, **digest_of(data)}}


def _limit_headers(window: Window | None) -> Headers:
    if window is None:
        return {}
    headers = {
        "x-ratelimit-limit-requests": str(window.limit),
        "x-ratelimit-remaining-requests": str(window.remaining),
        "x-ratelimit-reset-requests": f"{window.reset * 1000:.0f}ms",
    }
    return {**headers, "retry-after": str(window.retry_after)} if window.refused else headers
