"""Talk to any service over HTTP, as the registry says: what is sent, and where the answer stands."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import aiohttp
from pydantic import SecretStr

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import SHORT_TIMEOUT, Connection, Failed, read_body, secret_of
from agentic_flywheel.backends.contents import name_of
from agentic_flywheel.backends.http.answer import answer_of, document_of
from agentic_flywheel.backends.http.failure import failure_of
from agentic_flywheel.backends.http.pointers import at, holds
from agentic_flywheel.backends.http.reading import ResponseReading, is_answer
from agentic_flywheel.backends.http.template import Prepared, ValueOf, Values, filled, prepared, values_of_attempt
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews, overridden
from agentic_flywheel.backends.protocol import Abilities, FlowBackend, Probe
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowFailed, FlowNotFound, FlowProtocolError, FlowRefused, FlowTimeout
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.http_flows import AnswerPlace, HttpRequest, RequestTemplate, names_in
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.servers import FlowServer

T = TypeVar("T")

#: What a service answers that is asked nothing in particular: where it says no more than that it is there.
_ANYTHING = AnswerPlace(format="text", statuses=dict.fromkeys(range(200, 502), "answer"))


class HttpBackend(FlowBackend):
    """Calls flows of one server over HTTP."""

    def __init__(self, server: FlowServer, *, session: aiohttp.ClientSession | None = None) -> None:
        """A given ``session`` stays the caller's to close."""
        self._server = server
        self._connection = Connection(failure_of, session=session, headers=server.headers, ca_file=server.ca_file)

    def abilities(self, flow: Flow) -> Abilities:
        """Return what the registry puts into the flow's request, and where it looks for an answer."""
        template, place = _described(flow)
        used = {name.partition(".")[0] for name in names_in(template)}
        return Abilities(
            stream=place.stream is not None and place.stream.token is not None,
            session="session_id" in used,
            history="history" in used,
            uploads="uploads" in used,
            form="form" in used,
            overrides="config" in used,
            late_answers=place.late is not None,
        )

    async def prepare(self, call: FlowCall, *, api_key: SecretStr | None = None) -> FlowCall:
        flow, names = call.flow, names_in(_described(call.flow)[0])
        given = overridden(flow.config, call.config)
        used = {name: value for name, value in given.items() if names & {"config", f"config.{name}"}}
        unsent = ", ".join(sorted(given.keys() - used.keys()))
        warnings = (f"The flow's request has no place for {unsent}: it was not sent.",) if unsent else ()
        return call.model_copy(update={"config_used": without_secret_values(used), "warnings": warnings})

    async def ask(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
    ) -> FlowAnswer:
        """Ask the flow once. Raises a FlowError; after a time-out the flow may still run."""
        flow = call.flow
        template, place = _described(flow)
        self._refuse_unsent(call)
        config = overridden(flow.config, {**call.config, **call.carried})
        chat_id = call.chat_id or uuid.uuid4().hex
        values = Values(call, chat_id, config)
        request = prepared(
            flow.key,
            template,
            self._server.address,
            values,
            key=secret_of(api_key),
            uploads=call.uploads,
            mark=values.mark,
        )
        clock = CallClock(flow.key, flow.timeout.total_seconds(), flow.idle_timeout.total_seconds())
        reading = ResponseReading(flow, place, clock, self._connection.secrets(api_key, config))
        try:
            with clock.limit:
                answer = await self._exchange(
                    request, flow, api_key, partial(reading.read, on_news=on_news if call.stream else None)
                )
        except TimeoutError:
            raise clock.late from None
        return answer.model_copy(update={"chat_id": chat_id, "session_id": call.session_id})

    async def find(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> FlowAnswer | None:
        """Return the answer of this very attempt, where the server keeps answers and has got it."""
        template, place = _described(flow)
        if place.late is None:
            return None
        values = values_of_attempt(flow, chat_id)
        try:
            found = await self._fetch(flow, _with_headers(place.late.request, template), values, api_key)
        except FlowNotFound:
            return None
        entries = at(self._document(flow, found, api_key), place.late.entries)
        meant = filled(dict(place.late.where), values)
        for entry in reversed(entries if isinstance(entries, list) else [entries]):
            if holds(entry, meant):
                try:
                    answer = answer_of(flow.key, place.late, entry)
                except (FlowProtocolError, FlowFailed):  # it is not whole yet
                    continue
                return answer.model_copy(update={"chat_id": chat_id})
        return None

    async def abort(self, flow: Flow, chat_id: str, *, stopped: bool = False, api_key: SecretStr | None = None) -> None:
        """Ask for the end of a call, where the registry says how; a closed connection alone ends many."""
        template, _ = _described(flow)
        if template.abort is not None:
            values = values_of_attempt(flow, chat_id)
            await self._fetch(flow, _with_headers(template.abort, template), values, api_key)

    async def probe(self, flow: Flow | None = None, *, api_key: SecretStr | None = None) -> Probe:
        """Ask what the registry names for that; where it names nothing, any answer of the server is one."""
        now = asyncio.get_running_loop().time
        started, version = now(), ""
        template = flow.request if flow else None
        if flow is None or template is None or template.probe is None:
            nothing = HttpRequest(method="GET", path="/")
            await self._fetch(flow, nothing, values_of_attempt(flow, ""), None, place=_ANYTHING)
        else:
            asked = HttpRequest(method="GET", path=template.probe.path, headers=template.headers)
            body = await self._fetch(flow, asked, values_of_attempt(flow, ""), api_key)
            if template.probe.version is not None:
                told = at(self._document(flow, body, api_key), template.probe.version)
                version = name_of(str(told)) if isinstance(told, str | int | float) else ""
        return Probe(version, timedelta(seconds=now() - started))

    async def close(self) -> None:
        await self._connection.close()

    def _refuse_unsent(self, call: FlowCall) -> None:
        """Raise FlowRefused where the flow's request has no place for something that was given."""
        able, flow = self.abilities(call.flow), call.flow.key
        if not call.question.strip() and not call.form:
            raise FlowRefused(flow, "the question is blank")
        if call.human_input is not None:
            raise FlowRefused(flow, "it does not stop to ask a person, so no decision can be passed on")
        for given, can, name in ((call.uploads, able.uploads, "uploads"), (call.form, able.form, "form")):
            if given and not can:
                raise FlowRefused(flow, f"its `request` in the registry has no place for {name}")

    async def _fetch(
        self,
        flow: Flow | None,
        template: HttpRequest,
        values: ValueOf,
        api_key: SecretStr | None,
        *,
        place: AnswerPlace | None = None,
    ) -> bytes:
        """Return the body of what is answered to a request that runs no flow."""
        key = flow.key if flow else ANY_FLOW
        place = place or AnswerPlace(error=flow.answer.error if flow and flow.answer else None)

        async def read(response: aiohttp.ClientResponse) -> bytes:
            good = is_answer(response.status, place)
            body = await read_body(response, key)
            if good:
                return body
            failed = Failed(response.status, response.content_type, response.headers, body)
            raise failure_of(flow, failed, self._connection.secrets(api_key), place=place)

        request = prepared(key, template, self._server.address, values, key=secret_of(api_key))
        try:
            async with asyncio.timeout(SHORT_TIMEOUT):
                return await self._exchange(request, flow, api_key, read)
        except TimeoutError:
            raise FlowTimeout(key, SHORT_TIMEOUT) from None

    def _document(self, flow: Flow, body: bytes, api_key: SecretStr | None) -> Any:
        """Return what a body holds that is JSON, whatever the flow's answers are."""
        return document_of(flow.key, AnswerPlace(text=""), body, self._connection.secrets(api_key))

    async def _exchange(
        self,
        request: Prepared,
        flow: Flow | None,
        api_key: SecretStr | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
    ) -> T:
        return await self._connection.exchange(
            request.method,
            request.url,
            flow,
            None if _places_key(flow) else api_key,
            request.body,
            read,
            headers=request.headers,
        )


def _described(flow: Flow) -> tuple[RequestTemplate, AnswerPlace]:
    """Return how a flow is asked and where its answer stands: where nothing is said, the whole body is the answer."""
    return flow.request or RequestTemplate(), flow.answer or AnswerPlace(format="text")


def _with_headers(request: HttpRequest, of: RequestTemplate) -> HttpRequest:
    """Return a request with the headers by which the flow itself is asked: they hold the key."""
    return request.model_copy(update={"headers": {**of.headers, **request.headers}})


def _places_key(flow: Flow | None) -> bool:
    """Return whether the registry says in which requests, and where in them, the key goes; else each has it."""
    asked = [] if flow is None else [flow.request, flow.request and flow.request.abort]
    asked += [flow.answer.late.request] if flow and flow.answer and flow.answer.late else []
    return any("key" in names_in(each) for each in asked if each is not None)
