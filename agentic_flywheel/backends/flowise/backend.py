"""Flowise as a backend: what its client can do, in the words of the protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from pydantic import JsonValue, SecretStr

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends.flowise.client import FlowiseClient
from agentic_flywheel.backends.flowise.examining import examine
from agentic_flywheel.backends.flowise.models import Chatflow
from agentic_flywheel.backends.flowise.overrides import honoured, ignored
from agentic_flywheel.backends.flowise.request import effective_config
from agentic_flywheel.backends.flowise.uploading import given
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews, overridden
from agentic_flywheel.backends.protocol import Abilities, FlowBackend, FlowReport, ListedFlow, Probe
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import DecisionUnderWay, FlowError, FlowNotFound, FlowRefused, FormRefused, StoppedRunGone
from agentic_flywheel.forms import UnfitForm, fitted
from agentic_flywheel.given import FormScalar
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.servers import FlowServer

_ABILITIES = Abilities(
    stream=True,
    session=True,
    history=True,
    uploads=True,
    form=True,
    human_input=True,
    overrides=True,
    late_answers=True,
)
#: Seconds ago at which Flowise said, at most, what it ignores when an answer is to tell that: many calls share a look.
_TOLD_AGE = 2.0
#: In Flowise's refusal of a decision: an earlier call has told it, and the flow is carrying it out.
_STILL_RUNS = "'INPROGRESS'"
#: The same, where there is no run that could go on.
_NO_RUN = "No previous execution found"


class FlowiseBackend(FlowBackend):
    """A Flowise server. ``client`` can do more than the protocol asks for."""

    def __init__(self, server: FlowServer) -> None:
        """Raises InvalidSetting where the server's address is none."""
        self._address = without_secrets(server.address).rstrip("/").removesuffix("/api/v1")
        self.client = FlowiseClient(server.address, headers=server.headers, ca_file=server.ca_file)

    def abilities(self, flow: Flow) -> Abilities:
        return _ABILITIES

    async def prepare(self, call: FlowCall, *, api_key: SecretStr | None = None) -> FlowCall:
        flow, config = call.flow, effective_config(call)
        if not (config or call.form or flow.form):
            return call
        known = await self.client.chatflows.known(flow, api_key=api_key)
        if known is not None and ignored(config, known):
            known = await self.client.chatflows.known(flow, api_key=api_key, age=_TOLD_AGE) or known
        if known is None:
            return call.model_copy(update={"warnings": _not_known(config, api_key)})
        used = without_secret_values(honoured(overridden(flow.config, call.config), known))
        said = {"config_used": used, "warnings": _warnings(config, known)}
        if call.human_input is not None:  # what is decided goes to a flow that has begun
            return call.model_copy(update=said)
        try:
            form = _fitted(call, known)
        except FormRefused:
            known = await self.client.chatflows.known(flow, api_key=api_key, age=0.0) or known
            form = _fitted(call, known)
        return call.model_copy(update={**said, "form": form})

    async def ask(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
    ) -> FlowAnswer:
        uploads = await given(self.client, call, api_key=api_key)
        try:
            stream = call.stream and await self.client.chatflows.can_stream(call.flow)
            if call.uploads or stream != call.stream:
                call = call.model_copy(update={"uploads": uploads, "stream": stream})
            return await self.client.predict(call, api_key=api_key, on_news=on_news)
        except FlowRefused as refused:
            if call.human_input is not None and _STILL_RUNS in refused.reason:
                raise DecisionUnderWay(refused.flow, refused.reason) from None
            if call.human_input is not None and _NO_RUN in refused.reason:
                raise StoppedRunGone(refused.flow, refused.reason) from None
            raise
        except FlowNotFound as missing:
            if call.human_input is not None:
                raise StoppedRunGone(missing.flow, missing.message) from None
            raise

    async def find(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> FlowAnswer | None:
        return await self.client.find_answer(flow, chat_id, api_key=api_key)

    async def abort(self, flow: Flow, chat_id: str, *, stopped: bool = False, api_key: SecretStr | None = None) -> None:
        with contextlib.suppress(FlowError):
            await self.client.abort(flow, chat_id)
        if stopped:
            # Where there is no key that may, the run waits in Flowise for ever and is not resumed.
            await self.client.terminate(flow, chat_id, api_key=api_key)

    async def probe(self, flow: Flow | None = None, *, api_key: SecretStr | None = None) -> Probe:
        elapsed = await self.client.ping(api_key=api_key)
        if flow is not None:
            await self.client.chatflows.can_stream(flow)
        return Probe(f"Flowise {await self.client.version()}", elapsed)

    async def examine(self, flow: Flow, *, api_key: SecretStr | None = None) -> FlowReport:
        return await examine(self.client.chatflows, self._address, flow, api_key)

    async def list_flows(self, *, api_key: SecretStr | None = None) -> tuple[ListedFlow, ...]:
        found = await self.client.chatflows.all(api_key=api_key)
        return tuple(ListedFlow(each.id, each.name, each.unusable) for each in found)

    async def close(self) -> None:
        await self.client.close()


def _fitted(call: FlowCall, known: Chatflow) -> dict[str, FormScalar]:
    """Return a call's form as the server's flow takes it. Raises FormRefused where it is none that it begins with."""
    if known.start != "formInput":
        if call.form:
            raise FormRefused(call.flow.key, "there it begins with no form; ask it a question")
        return {}
    optional = {field.name for field in call.flow.form if not field.required}
    fields = [each.model_copy(update={"required": each.name not in optional}) for each in known.form]
    try:
        return fitted(call.form, fields)
    except UnfitForm as unfit:
        raise FormRefused(call.flow.key, str(unfit)) from None


def _warnings(config: Mapping[str, JsonValue], known: Chatflow) -> tuple[str, ...]:
    """Return what is to be said of a configuration that was sent."""
    names = ", ".join(ignored(config, known))
    return (f"Flowise ignored {names}: overriding it is not enabled in the flow's configuration.",) if names else ()


def _not_known(config: Mapping[str, JsonValue], api_key: SecretStr | None) -> tuple[str, ...]:
    """Return the same where Flowise does not say what the flow's owner allows."""
    if not config:
        return ()
    why = "Flowise did not tell the flow's settings" if api_key else "it says so to an API key only"
    return (f"It is not known whether Flowise used {', '.join(sorted(config))}: {why}.",)
