"""Overrides of a flow's settings: for a conversation of the caller's, or for everybody who asks a flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.sessions import configure_session, session_config, session_profile
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import ChangesRefused, FlywheelError, InvalidQuery, MissingScope
from agentic_flywheel.models import Model, Slug, read_query
from agentic_flywheel.registry import find_registry, update_flow
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.settings import key_of
from mcp_bridge.arguments import Anything, Arguments, FlowKey, Object, ObjectText, SessionId
from mcp_bridge.tool import SETS, Call, tool

if TYPE_CHECKING:
    from agentic_flywheel.backends import FlowReport

#: As a profile: the session is to carry none.
_NO_PROFILE = "-"


class Configure(Arguments):
    """What to configure, and how."""

    session_id: SessionId | None = None
    flow_key: FlowKey | None = None
    config: Annotated[
        ObjectText | None,
        Field(description='Overrides as JSON, {"temperature": 0.2}; null removes one. Left out: only show.'),
    ] = None
    profile: Annotated[
        Slug | Literal["-"] | None,
        Field(description='With session_id: what its questions are asked under from now on; "-": nothing.'),
    ] = None

    @model_validator(mode="after")
    def _something(self) -> Configure:
        if self.session_id is None and self.flow_key is None:
            raise ValueError("give a session_id, a flow_key or both")
        if self.session_id is None and self.profile is not None:
            raise ValueError("a session carries a profile: give a session_id")
        return self


class Override(Model):
    """One override and what becomes of it."""

    name: str
    value: Annotated[Anything, Field(description="Left out: not shown.")] = None
    honoured: Annotated[bool | None, Field(description="Whether Flowise will heed it; left out: not known.")] = None


class Configuration(Model):
    """The configuration in force."""

    scope: Annotated[Literal["session", "flow"], Field(description="Whose queries carry it.")]
    session_id: str | None = None
    flow_key: str | None = None
    profile: Annotated[str | None, Field(description="The profile that the session carries.")] = None
    changed: bool
    overrides: tuple[Override, ...]
    accepts: Annotated[tuple[str, ...] | None, Field(description="What the flow's owner lets be overridden.")] = None
    note: str


@tool("Configure", SETS, Scope.ASK)
async def flowise_configure(call: Call, given: Configure) -> Configuration:
    """Override Flowise settings (temperature, maxOutputTokens, systemMessage …), have a session carry a domain profile,
    or show what is in force.

    With session_id: for that conversation only, yours. With flow_key alone: for everybody who asks that flow; this
    needs a bridge that may change what all share. With both, the session's overrides are shown as that flow would
    take them. Flowise silently ignores overrides that the flow's owner has not enabled: `honoured` says which."""
    catalog = call.producer.catalog
    flow = catalog.flow(given.flow_key) if given.flow_key is not None else catalog.default
    profile = None
    if given.session_id is not None:
        if given.profile is not None:
            await call.producer.use_profile(given.session_id, None if given.profile == _NO_PROFILE else given.profile)
        profile = await session_profile(call.producer.batch, given.session_id, asker=call.asker)
        config = await _session_overrides(call, given.session_id, given.config)
    else:
        config = _flow_overrides(call, flow, given.config)
    # A conversation's values are the caller's own; those of a flow may hold what only its author is to know.
    own = given.session_id is not None
    values = without_secret_values(config) if own or call.grant.allows(Scope.MANAGE) else {}
    report, note = await known_flow(call, flow)
    accepts = report.overridable if report is not None else None
    return Configuration(
        scope="session" if given.session_id is not None else "flow",
        session_id=given.session_id,
        flow_key=flow.key,
        profile=profile,
        changed=bool(given.config) or given.profile is not None,
        overrides=tuple(
            Override(name=name, value=values.get(name), honoured=None if accepts is None else name in accepts)
            for name, value in config.items()
            if value is not None
        ),
        accepts=accepts,
        note=note,
    )


async def _session_overrides(call: Call, session_id: str, changes: Object | None) -> Object:
    batch = call.producer.batch
    config = await session_config(batch, session_id, asker=call.asker)
    if not changes:
        return config
    merged = _merged(config, changes)
    # What a query may not carry, a session may not either.
    read_query({"question": "-", "config": merged})
    await configure_session(batch, session_id, merged, asker=call.asker, ttl=call.bridge.settings.session_ttl)
    return merged


def _flow_overrides(call: Call, flow: Flow, changes: Object | None) -> Object:
    if not changes:
        return flow.config
    if not call.grant.allows(Scope.MANAGE):
        raise MissingScope(Scope.MANAGE, f"Configuring the flow {flow.key}")
    if not call.bridge.changes:
        raise ChangesRefused(f"Configuring the flow {flow.key}")
    update_flow(find_registry(call.bridge.settings.registry), flow.key, {"config": changes}, cwd=Path.cwd())
    return _merged(flow.config, changes)


def _merged(config: Object, changes: Object) -> Object:
    if "sessionId" in changes:
        raise InvalidQuery("config", "sessionId is given as session_id, not as configuration")
    return {name: value for name, value in {**config, **changes}.items() if value is not None}


async def known_flow(call: Call, flow: Flow) -> tuple[FlowReport | None, str]:
    """Return what a flow's server tells of it, None where it is not asked, and a sentence about its overrides."""
    settings = call.bridge.settings
    if flow.server is None and settings.flowise_base_url is None:
        return None, "No Flowise is known here (FLOWISE_BASE_URL), so what it honours cannot be said."
    try:
        backend = call.bridge.backends.of(flow)
        report = await backend.examine(flow, api_key=key_of(flow, settings))
    except FlywheelError as error:
        return None, f"What the flow's server honours is not known: {error.message}"
    if not backend.abilities(flow).overrides:
        note = "The flow's server takes no overrides: a question that carries one is refused."
        return report.model_copy(update={"overridable": ()}), note
    if report.overridable is None:
        why = next(iter((*report.problems, *report.remarks)), "it does not say")
        return report, f"What the flow's server honours is not known: {why}"
    if not report.overridable:
        return report, "The flow's owner has not enabled overriding in Flowise: it ignores every override."
    return report, "The flow's server honours what is listed under `accepts`."
