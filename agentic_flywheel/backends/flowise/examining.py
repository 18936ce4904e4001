"""Compare a registry's flow with its Flowise: is it there, can it be used, what will Flowise ignore or refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import JsonValue, SecretStr

from agentic_flywheel.backends.flowise.chatflows import Chatflows
from agentic_flywheel.backends.flowise.forms import unlike
from agentic_flywheel.backends.flowise.models import Chatflow
from agentic_flywheel.backends.flowise.overrides import ignored as ignored_of
from agentic_flywheel.backends.protocol import FlowReport
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowUnauthorized, FlywheelError

#: What is lost without an API key.
WITHOUT_KEY = "an answer that comes after its time-out is not found, and nobody knows which overrides are ignored"
#: What a way of giving context overrides.
_INJECTED: dict[str, dict[str, JsonValue]] = {
    "system": {"systemMessage": ""},
    "vars": {"vars": {"profile_context": ""}},
}


async def examine(chatflows: Chatflows, address: str, flow: Flow, api_key: SecretStr | None) -> FlowReport:
    """Return what the Flowise at ``address`` says of a flow, and of what the registry says of it."""
    report, kind = await _examined(chatflows, flow, api_key)
    canvas = "v2/agentcanvas" if kind == "AGENTFLOW" else "canvas"
    pages = {"editor_url": f"{address}/{canvas}/{flow.id}", "chat_url": f"{address}/chatbot/{flow.id}"}
    return report.model_copy(update=pages)


async def _examined(chatflows: Chatflows, flow: Flow, api_key: SecretStr | None) -> tuple[FlowReport, str]:
    """Return the report without the flow's pages, and its kind, empty where that is not known."""
    try:
        streams = await chatflows.can_stream(flow)
    except FlywheelError as error:
        return FlowReport(flow=flow.key, problems=(error.message,)), ""
    try:
        known = await chatflows.one(flow, api_key=api_key)
    except FlowUnauthorized as error:
        if api_key is not None:
            return FlowReport(flow=flow.key, streams=streams, key="refused", problems=(error.message,)), ""
        remark = f"Flowise shows its settings only with a key, and without one {WITHOUT_KEY}: set FLOWISE_API_KEY"
        return FlowReport(flow=flow.key, streams=streams, remarks=(remark,)), ""
    except FlowError as error:
        return FlowReport(flow=flow.key, streams=streams, problems=(error.message,)), ""
    key = await _key_state(chatflows, flow, known, api_key)
    problems = {
        "missing": f"it needs a key: set {flow.api_key_env or 'FLOWISE_API_KEY'}",
        "refused": "it is bound to another key than the one that is set",
    }
    wanted = {**flow.config, **_INJECTED.get(flow.injection, {})}
    ignored = ignored_of(wanted, known)
    report = FlowReport(
        flow=flow.key,
        name=known.name,
        key=key,
        streams=streams,
        overridable=known.overridable,
        ignored=ignored,
        form=known.form,
        problems=tuple(filter(None, (problems.get(key), known.unusable, *unlike(flow.form, known.form)))),
        remarks=(*_unsure(flow, key), *_remarks(flow, known, ignored)),
    )
    return report, known.kind


def _unsure(flow: Flow, key: str) -> Iterator[str]:
    if key == "not known":
        where = flow.api_key_env or "`api_key_env` in the registry"
        yield f"it takes one key only, and Flowise does not say whether that is yours: if it refuses yours, set {where}"


def _remarks(flow: Flow, known: Chatflow, ignored: tuple[str, ...]) -> Iterator[str]:
    if known.asks_person:
        yield "it may stop and ask a person: `flywheel waiting` lists what waits for a decision"
    if ignored:
        yield f"Flowise ignores {', '.join(ignored)}: enable overriding in the flow's configuration"
    if known.rate is not None and known.rate.period:
        most = known.rate.calls / known.rate.period.total_seconds()
        if flow.rate is None or flow.rate > most * 1.001:
            ours = "the registry has no `rate`" if flow.rate is None else f"the registry allows {flow.rate:g} a second"
            allowed = f"{known.rate.calls} calls in {known.rate.period.total_seconds():g} s"
            instead = f"`rate: {most * 3600:.4g}/h` lets queries wait here instead"
            yield f"Flowise refuses more than {allowed}, {ours}: {instead}"


async def _key_state(
    chatflows: Chatflows, flow: Flow, known: Chatflow, api_key: SecretStr | None
) -> Literal["not needed", "accepted", "missing", "refused", "not known"]:
    if not known.keyed:
        return "not needed"
    if api_key is None:
        return "missing"
    try:
        bound = await chatflows.of_key(api_key)
    except FlowUnauthorized:
        return "refused"
    except FlowError:
        return "not known"
    return "accepted" if any(each.id == flow.id for each in bound) else "refused"
