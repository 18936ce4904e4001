"""Compare a registry's flows with their Flowise: does each exist, is its key right, which overrides will be ignored."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import SecretStr

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowError, FlowUnauthorized
from agentic_flywheel.flowise import FlowiseClient
from agentic_flywheel.flowise.models import Chatflow
from agentic_flywheel.models import Model
from agentic_flywheel.settings import Settings, flow_key

#: What Flowise honours whether or not the flow's owner enabled it.
_ALWAYS = frozenset({"sessionId"})
#: What a way of giving context overrides.
_INJECTED = {"system": "systemMessage", "vars": "vars"}


class FlowReport(Model):
    """What Flowise says about one flow of the registry."""

    flow: str
    #: Its name in Flowise, where that could be read.
    name: str = ""
    key: Literal["not needed", "accepted", "missing", "refused", "not known"] = "not known"
    streams: bool | None = None
    #: Overrides of the registry that Flowise silently ignores.
    ignored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


async def check_flows(catalog: Catalog, settings: Settings) -> list[FlowReport]:
    """Ask Flowise about every active flow, all at once. ``settings`` name the server."""
    async with FlowiseClient(settings.flowise_base_url or "") as client:
        keys = {flow.key: flow_key(flow.api_key_env, settings.flowise_api_key) for flow in catalog.active.values()}
        return list(await asyncio.gather(*(_check(client, each, keys[each.key]) for each in catalog.active.values())))


async def _check(client: FlowiseClient, flow: Flow, api_key: SecretStr | None) -> FlowReport:
    try:
        streams = await client.can_stream(flow)
    except FlowError as error:
        return FlowReport(flow=flow.key, problems=(error.message,))
    try:
        known = await client.chatflow(flow, api_key=api_key)
    except FlowUnauthorized as error:
        if api_key is not None:
            return FlowReport(flow=flow.key, streams=streams, key="refused", problems=(error.message,))
        remark = "Flowise shows its settings only with a key: set FLOWISE_API_KEY to have keys and overrides checked"
        return FlowReport(flow=flow.key, streams=streams, remarks=(remark,))
    except FlowError as error:
        return FlowReport(flow=flow.key, streams=streams, problems=(error.message,))
    key = await _key_state(client, flow, known, api_key)
    problems = {
        "missing": f"it needs a key: set {flow.api_key_env or 'FLOWISE_API_KEY'}",
        "refused": "it is bound to another key than the one that is set",
    }
    ignored = ignored_overrides(flow, known)
    remarks = (
        [f"Flowise ignores {', '.join(ignored)}: enable overriding in the flow's configuration"] if ignored else []
    )
    return FlowReport(
        flow=flow.key,
        name=known.name,
        key=key,
        streams=streams,
        ignored=ignored,
        problems=(problems[key],) if key in problems else (),
        remarks=tuple(remarks),
    )


async def _key_state(
    client: FlowiseClient, flow: Flow, known: Chatflow, api_key: SecretStr | None
) -> Literal["not needed", "accepted", "missing", "refused", "not known"]:
    if not known.keyed:
        return "not needed"
    if api_key is None:
        return "missing"
    try:
        bound = await client.chatflows_of_key(api_key)
    except FlowUnauthorized:
        return "refused"
    except FlowError:
        return "not known"
    return "accepted" if any(each.id == flow.id for each in bound) else "refused"


def ignored_overrides(flow: Flow, known: Chatflow) -> tuple[str, ...]:
    """Return what the registry overrides and the flow's owner has not enabled."""
    wanted = [*flow.config, *([_INJECTED[flow.injection]] if flow.injection in _INJECTED else [])]
    allowed = _ALWAYS | set(known.overridable)
    return tuple(name for name in dict.fromkeys(wanted) if name not in allowed)
