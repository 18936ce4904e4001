"""One server that speaks OpenAI's chat completions. Every wait is bounded, every failure named."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from pydantic import JsonValue, SecretStr
from yarl import URL

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import Connection, ExpectedForm
from agentic_flywheel.backends.contents import name_of
from agentic_flywheel.backends.decoding import objects_in
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.openai.failure import failure_of
from agentic_flywheel.backends.openai.reading import CompletionReading
from agentic_flywheel.backends.openai.request import encoded, settings_of
from agentic_flywheel.backends.protocol import Abilities, FlowBackend, FlowReport, ListedFlow, Probe
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError, FlowRefused, FlowUnauthorized, FlywheelError, InvalidSetting
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.servers import FlowServer

#: Models of one server that are listed.
MOST_MODELS = 10_000
_ABILITIES = Abilities(stream=True, history=True, uploads=True, overrides=True)
_COMPLETIONS = "chat/completions"


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
            with clock.limit:
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
        await self._listed(flow, api_key)
        return Probe("", timedelta(seconds=now() - started))

    async def examine(self, flow: Flow, *, api_key: SecretStr | None = None) -> FlowReport:
        try:
            models = await self._listed(flow, api_key)
        except FlowUnauthorized as error:
            return FlowReport(
                flow=flow.key, key="refused" if api_key else "missing", streams=True, problems=(error.message,)
            )
        except FlowProtocolError as error:
            remark = f"the server does not list its models: {error.reason}"
            return FlowReport(flow=flow.key, streams=True, remarks=(remark,))
        except FlywheelError as error:
            return FlowReport(flow=flow.key, streams=True, problems=(error.message,))
        listed = next((each for each in models if covers(each.id, flow.model)), None)
        return FlowReport(
            flow=flow.key,
            name=listed.name if listed else "",
            key="accepted" if api_key else "not needed",
            streams=True,
            problems=(listed.unusable,) if listed and listed.unusable else (),
            # A proxy answers for models that it does not list, such as those of a pattern.
            remarks=() if listed else (_unlisted(flow.model or "", models),),
        )

    async def list_flows(self, *, api_key: SecretStr | None = None) -> tuple[ListedFlow, ...]:
        return await self._listed(None, api_key)

    async def _listed(self, flow: Flow | None, api_key: SecretStr | None) -> tuple[ListedFlow, ...]:
        found = await self._connection.fetch_json("GET", self._url("models"), flow, api_key)
        with ExpectedForm(flow.key if flow else ANY_FLOW):
            listed = objects_in(found.get("data") if isinstance(found, dict) else found)
        return tuple(model for each in listed[:MOST_MODELS] if (model := _model(each)).id)

    def _url(self, path: str) -> URL:
        return self._base.joinpath(path)


def api_address(address: str) -> URL:
    """Return the address below which a server's API is. Raises InvalidSetting where it is none."""
    try:
        url = URL(address)
    except ValueError:
        raise InvalidSetting("address", "this is no address") from None
    path = url.raw_path.rstrip("/").removesuffix(f"/{_COMPLETIONS}") or "/v1"
    return url.with_path(path, encoded=True)


def _model(told: dict[str, Any]) -> ListedFlow:
    kind = name_of(told.get("mode"))
    unusable = "" if kind in ("", "chat", "responses") else f"it is a model for {kind}"
    return ListedFlow(id=name_of(told.get("id")), name=name_of(told.get("name")), unusable=unusable)


def _unlisted(model: str, listed: tuple[ListedFlow, ...]) -> str:
    names = [each.id for each in listed]
    alike = difflib.get_close_matches(model, names, n=3) or names[:3]
    said = f"it lists {len(names)}, such as {', '.join(alike)}" if names else "it lists none"
    return f"the server does not list the model {model!r}; {said}"


def covers(listed: str, model: str | None) -> bool:
    """Return whether a model is the listed one; a proxy lists patterns too, and Ollama the tag that is meant."""
    return model is not None and (fnmatchcase(model, listed) or listed == f"{model}:latest")
