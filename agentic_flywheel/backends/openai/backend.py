"""One server that speaks OpenAI's chat completions. Every wait is bounded, every failure named."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Collection
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from pydantic import JsonValue, SecretStr
from yarl import URL

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import SHORT_TIMEOUT, Connection, ExpectedForm
from agentic_flywheel.backends.contents import name_of
from agentic_flywheel.backends.decoding import decode_json, objects_in
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.openai.failure import failure_of
from agentic_flywheel.backends.openai.reading import CompletionReading
from agentic_flywheel.backends.openai.request import encoded, settings_of
from agentic_flywheel.backends.protocol import Abilities, FlowBackend, FlowReport, ListedFlow, Probe
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowRefused, FlowTimeout, FlowUnauthorized, FlywheelError, InvalidSetting
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.servers import FlowServer

#: Models of one server that are listed.
MOST_MODELS = 10_000
_ABILITIES = Abilities(stream=True, history=True, uploads=True, overrides=True)
_COMPLETIONS = "chat/completions"


class Models(NamedTuple):
    """What a server says of its models, and of itself."""

    listed: tuple[ListedFlow, ...]
    version: str


class OpenAIBackend(FlowBackend):
    """Calls the models of one server. It keeps no answer for which nobody waits: a call that was cut is lost.

    To close the connection is all that ends a call. A server may run on after a plain one; a streamed one ends there.
    """

    def __init__(self, server: FlowServer) -> None:
        """Take a server whose address ends where ``/chat/completions`` begins. Without a path ``/v1`` is meant.

        Raises InvalidSetting where the address is none.
        """
        self._base = api_address(server.address)
        self._connection = Connection(failure_of, headers=server.headers, ca_file=server.ca_file)
        #: Whether the server tells the tokens of a stream where it is asked to; some refuse the question.
        self._counts_streams = True

    def abilities(self, flow: Flow) -> Abilities:
        return _ABILITIES

    async def close(self) -> None:
        await self._connection.close()

    async def prepare(self, call: FlowCall, *, api_key: SecretStr | None = None) -> FlowCall:
        settings, said = settings_of(call)
        used: dict[str, JsonValue] = {"model": call.flow.model, **without_secret_values(settings)}
        return call.model_copy(update={"config_used": used, "warnings": said})

    async def ask(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
    ) -> FlowAnswer:
        flow = call.flow
        clock = CallClock(flow.key, flow.timeout.total_seconds(), flow.idle_timeout.total_seconds())
        try:
            async with clock.limit:
                try:
                    return await self._ask(call, api_key, clock, on_news)
                except FlowRefused as refused:
                    if not (call.stream and self._counts_streams and "stream_options" in refused.reason):
                        raise
                    self._counts_streams = False
                    return await self._ask(call, api_key, clock, on_news)
        except TimeoutError:
            raise clock.late from None

    async def _ask(
        self,
        call: FlowCall,
        api_key: SecretStr | None,
        clock: CallClock,
        on_news: Callable[[FlowNews], None] | None,
    ) -> FlowAnswer:
        body = encoded(call, usage=self._counts_streams)
        secrets = self._connection.secrets(api_key, {**call.flow.sampling, **call.config})
        read = partial(CompletionReading(call, self._connection, clock, on_news).read, secrets=secrets)
        return await self._connection.exchange("POST", self._url(_COMPLETIONS), call.flow, api_key, body, read)

    async def probe(self, flow: Flow | None = None, *, api_key: SecretStr | None = None) -> Probe:
        now = asyncio.get_running_loop().time
        started = now()
        models = await self._models(flow, api_key)
        return Probe(models.version, timedelta(seconds=now() - started))

    async def examine(self, flow: Flow, *, api_key: SecretStr | None = None) -> FlowReport:
        try:
            models = await self._models(flow, api_key)
        except FlowUnauthorized as error:
            return FlowReport(
                flow=flow.key, key="refused" if api_key else "missing", streams=True, problems=(error.message,)
            )
        except FlywheelError as error:
            return FlowReport(flow=flow.key, streams=True, problems=(error.message,))
        listed = next((each for each in models.listed if _covers(each.id, flow.model)), None)
        return FlowReport(
            flow=flow.key,
            name=listed.name if listed else "",
            key="accepted" if api_key else "not needed",
            streams=True,
            problems=(listed.unusable,) if listed and listed.unusable else (),
            # A proxy answers for models that it does not list, such as those of a pattern.
            remarks=() if listed else (_unlisted(flow.model or "", models.listed),),
        )

    async def list_flows(self, *, api_key: SecretStr | None = None) -> tuple[ListedFlow, ...]:
        return (await self._models(None, api_key)).listed

    async def _models(self, flow: Flow | None, api_key: SecretStr | None) -> Models:
        key = flow.key if flow else ANY_FLOW
        read = partial(self._read_models, flow=flow, secrets=self._connection.secrets(api_key))
        try:
            async with asyncio.timeout(SHORT_TIMEOUT):
                return await self._connection.exchange("GET", self._url("models"), flow, api_key, None, read)
        except TimeoutError:
            raise FlowTimeout(key, SHORT_TIMEOUT) from None

    async def _read_models(
        self, response: aiohttp.ClientResponse, flow: Flow | None, secrets: Collection[str]
    ) -> Models:
        body = await self._connection.read_answer(response, flow, secrets)
        with ExpectedForm(flow.key if flow else ANY_FLOW):
            found = decode_json(body)
            listed = objects_in(found.get("data") if isinstance(found, dict) else found)
        litellm = response.headers.get("x-litellm-version")
        return Models(
            tuple(_listed(each) for each in listed[:MOST_MODELS]), f"LiteLLM {name_of(litellm)}" if litellm else ""
        )

    def _url(self, path: str) -> URL:
        return self._base.joinpath(path).with_query(self._base.query)


def api_address(address: str) -> URL:
    """Return the address below which a server's API is. Raises InvalidSetting where it is none."""
    try:
        url = URL(address)
    except ValueError:
        raise InvalidSetting("address", "this is no address") from None
    path = url.raw_path.rstrip("/").removesuffix(f"/{_COMPLETIONS}") or "/v1"
    return url.with_path(path, encoded=True, keep_query=True)


def _listed(told: dict[str, Any]) -> ListedFlow:
    kind = name_of(told.get("mode"))
    unusable = "" if kind in ("", "chat", "responses") else f"it is a model for {kind}"
    return ListedFlow(id=name_of(told.get("id")), name=name_of(told.get("name")), unusable=unusable)


def _unlisted(model: str, listed: tuple[ListedFlow, ...]) -> str:
    names = [each.id for each in listed]
    alike = difflib.get_close_matches(model, names, n=3) or names[:3]
    said = f"it lists {len(names)}, such as {', '.join(alike)}" if names else "it lists none"
    return f"the server does not list the model {model!r}; {said}"


def _covers(listed: str, model: str | None) -> bool:
    """Return whether a model is the listed one; a proxy lists patterns too, and Ollama the tag that is meant."""
    return model is not None and (fnmatchcase(model, listed) or listed == f"{model}:latest")
