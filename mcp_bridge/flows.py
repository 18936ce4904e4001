"""The tools about flows: which there are, where a question would go, add one, configure one, find its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import ChangesRefused, FlywheelError, InvalidQuery
from agentic_flywheel.models import Band, Model, Slug, Target, read_query
from agentic_flywheel.registry import add_flow, find_registry, update_flow
from agentic_flywheel.sessions import configure_session, session_config, session_profile
from agentic_flywheel.settings import flow_key as key_of_flow
from mcp_bridge.arguments import Anything, FlowKey, Object, ProfileName, Question, SessionId
from mcp_bridge.tool import ADDS, READS, READS_OUTSIDE, SETS, Arguments, Call, tool
from mcp_bridge.views import FlowKeyOut

if TYPE_CHECKING:
    from agentic_flywheel.flowise.models import Chatflow

#: So many examples and keywords tell what a flow is for.
_SOME = 5
#: As many of a session's turns as a worker looks at.
_TURNS = 3


class Nothing(Arguments):
    """No arguments."""


class FlowView(Model):
    """One flow of the registry."""

    flow_key: FlowKeyOut
    flow_id: Annotated[str, Field(description="The chatflow's id in Flowise.")]
    name: str
    description: str
    domain: str
    active: bool
    default: Annotated[bool, Field(description="Whether questions that fit nowhere go here.")]
    keywords: tuple[str, ...]
    examples: tuple[str, ...]
    config: Object
    memory: str
    cached: Annotated[bool, Field(description="Whether its answers are kept for who asks the same.")]
    fallback: str | None = None


class FlowList(Model):
    """All flows."""

    flows: tuple[FlowView, ...]
    domains: tuple[str, ...]
    registry: Annotated[str, Field(description="Where they are written.")]
    revision: Annotated[str, Field(description="Changes whenever the registry does.")]


def flow_list(catalog: Catalog) -> FlowList:
    """Return what the catalog holds."""
    default = catalog.default.key
    return FlowList(
        flows=tuple(_flow(flow, default) for flow in catalog.flows.values()),
        domains=tuple(catalog.domains),
        registry=catalog.source,
        revision=catalog.revision,
    )


def _flow(flow: Flow, default: str) -> FlowView:
    examples = (*flow.examples, *(each for found in flow.topics.values() for each in found))
    return FlowView(
        flow_key=flow.key,
        flow_id=flow.id,
        name=flow.title,
        description=flow.description or flow.purpose,
        domain=flow.domain,
        active=flow.active,
        default=flow.key == default,
        keywords=flow.keywords[:_SOME],
        examples=examples[:_SOME],
        config=flow.config,
        memory=flow.memory,
        cached=flow.cache,
        fallback=flow.fallback,
    )


@tool("List flows", READS)
async def flowise_list_flows(call: Call, given: Nothing) -> FlowList:
    """List the Flowise flows there are: flow_key, what each is for, its domain, and which one is the default.
    Read it before using flow_override."""
    return flow_list(call.producer.catalog)


class RouteQuestion(Arguments):
    """A question whose way is asked for."""

    question: Question
    session_id: SessionId | None = None
    profile: ProfileName | None = None


class Reason(Model):
    """One reason for a route."""

    flow_key: FlowKeyOut
    kind: str
    detail: str
    weight: Annotated[float, Field(description="How much it moved the score, in log-odds.")]


class RouteTarget(Model):
    """One flow that a question would go to."""

    flow_key: FlowKeyOut
    domain: str
    confidence: float
    topic: str | None = None


class RouteView(Model):
    """Where a question would go, and why."""

    targets: Annotated[tuple[RouteTarget, ...], Field(description="Several where the question concerns several.")]
    decision: str
    band: Band
    confidence: float
    reason: str
    novel: Annotated[bool, Field(description="Whether the question resembles nothing that the flows are for.")]
    novelty: float
    scores: dict[str, float]
    evidence: tuple[Reason, ...]
    alternatives: tuple[RouteTarget, ...]


@tool("Preview a route", READS)
async def flowise_route(call: Call, given: RouteQuestion) -> RouteView:
    """Show which flow a question would go to and why: confidence, evidence, scores, alternatives. Calls no flow and
    submits nothing. With session_id it is judged as a follow-up in that conversation, under the profile it carries."""
    query = read_query({"question": given.question, "session_id": given.session_id, "user": call.owner})
    from agentic_flywheel.routing import choose_route

    turns, profile = [], given.profile
    if given.session_id is not None:
        turns = await call.producer.history(given.session_id, limit=_TURNS)
        profile = profile or await session_profile(call.producer.batch, given.session_id, owner=call.owner)
    keywords = call.producer.profiles.get(profile, call.owner).keywords if profile else ()
    route = choose_route(
        query, await call.bridge.router(), call.producer.catalog, turns=turns, profile_keywords=keywords
    )
    return RouteView(
        targets=tuple(map(_target, route.targets)),
        decision=route.decision,
        band=route.band,
        confidence=round(route.confidence, 4),
        reason=route.reason,
        novel=route.novel,
        novelty=round(route.novelty, 4),
        scores={flow: round(score, 4) for flow, score in route.scores.items()},
        evidence=tuple(
            Reason(flow_key=each.flow, kind=each.kind, detail=each.detail, weight=round(each.weight, 3))
            for each in route.evidence
        ),
        alternatives=tuple(map(_target, route.alternatives)),
    )


def _target(target: Target) -> RouteTarget:
    return RouteTarget(
        flow_key=target.flow, domain=target.domain, confidence=round(target.confidence, 4), topic=target.topic
    )


class NewFlow(Arguments):
    """A flow to add."""

    flow_key: Annotated[Slug, Field(description="Its name here: letters, digits, - and _.")]
    flow_id: Annotated[Slug, Field(description="The chatflow's id, as its address in Flowise shows it.")]
    description: Annotated[str, Field(min_length=1, max_length=2000, description="What it is for, in a sentence.")]
    domain: Annotated[Slug | None, Field(description="The domain whose workers ask it; its own one by default.")] = None
    name: Annotated[str, Field(max_length=200)] = ""
    keywords: Annotated[tuple[str, ...], Field(max_length=200, description="Words that speak for it.")] = ()
    examples: Annotated[
        tuple[str, ...], Field(max_length=500, description="Questions it is meant for: ten make a good start.")
    ] = ()
    config: Annotated[Object, Field(description="Sent to Flowise as overrideConfig.")] = {}


class FlowAdded(Model):
    """A flow that was added."""

    flow_key: FlowKeyOut
    domain: str
    registry: Annotated[str, Field(description="The file it was written to.")]
    note: str


@tool("Add a flow", ADDS, changes=True)
async def flowise_add_flow(call: Call, given: NewFlow) -> FlowAdded:
    """Add a Flowise flow to the registry, so that questions can be routed to it. Workers take it over by themselves; a
    new domain needs a worker that serves it. Refused where the key is there already or the result would be faulty."""
    fields = {
        "key": given.flow_key,
        "id": given.flow_id,
        "name": given.name,
        "description": given.description,
        "domain": given.domain or given.flow_key,
        "intent_keywords": list(given.keywords),
        "examples": list(given.examples),
        "config": given.config,
    }
    known = call.producer.catalog.domains
    path = find_registry(call.bridge.settings.registry)
    written = add_flow(path, {name: value for name, value in fields.items() if value}, cwd=Path.cwd())
    domain = given.domain or given.flow_key
    served = "Its domain is served already." if domain in known else f"Start a worker for the new domain {domain}."
    return FlowAdded(flow_key=given.flow_key, domain=domain, registry=str(written), note=served)


class Configure(Arguments):
    """What to configure, and how."""

    session_id: SessionId | None = None
    flow_key: FlowKey | None = None
    config: Annotated[
        Object | None,
        Field(description='Overrides, such as {"temperature": 0.2}; null removes one. Left out: only show.'),
    ] = None
    profile: Annotated[
        Slug | Literal[""] | None,
        Field(description="With session_id: what its questions are asked under from now on; an empty text: nothing."),
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
    value: Anything
    honoured: Annotated[bool | None, Field(description="Whether Flowise will heed it; left out: not known.")] = None


class Configuration(Model):
    """The configuration in force."""

    scope: Annotated[Literal["session", "flow"], Field(description="Whose queries carry it.")]
    session_id: str | None = None
    flow_key: FlowKeyOut | None = None
    profile: Annotated[str | None, Field(description="The profile that the session carries.")] = None
    changed: bool
    overrides: tuple[Override, ...]
    accepts: Annotated[tuple[str, ...] | None, Field(description="What the flow's owner lets be overridden.")] = None
    note: str


@tool("Configure", SETS)
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
            await call.producer.use_profile(given.session_id, given.profile or None)
        profile = await session_profile(call.producer.batch, given.session_id, owner=call.owner)
        config = await _session_overrides(call, given.session_id, given.config)
    else:
        config = _flow_overrides(call, flow, given.config)
    known, note = await _known(call, flow)
    return Configuration(
        scope="session" if given.session_id is not None else "flow",
        session_id=given.session_id,
        flow_key=flow.key,
        profile=profile,
        changed=bool(given.config) or given.profile is not None,
        overrides=tuple(
            Override(name=name, value=value, honoured=None if known is None else name in known.overridable)
            for name, value in config.items()
            if value is not None
        ),
        accepts=known.overridable if known is not None else None,
        note=note,
    )


async def _session_overrides(call: Call, session_id: str, changes: Object | None) -> Object:
    batch = call.producer.batch
    config = await session_config(batch, session_id, owner=call.owner)
    if not changes:
        return config
    merged = _merged(config, changes)
    # What a query may not carry, a session may not either.
    read_query({"question": "-", "config": merged})
    await configure_session(batch, session_id, merged, owner=call.owner, ttl=call.bridge.settings.session_ttl)
    return merged


def _flow_overrides(call: Call, flow: Flow, changes: Object | None) -> Object:
    if not changes:
        return flow.config
    if not call.bridge.changes:
        raise ChangesRefused(f"Configuring the flow {flow.key}")
    update_flow(find_registry(call.bridge.settings.registry), flow.key, {"config": changes}, cwd=Path.cwd())
    return _merged(flow.config, changes)


def _merged(config: Object, changes: Object) -> Object:
    if "sessionId" in changes:
        raise InvalidQuery("config", "sessionId is given as session_id, not as configuration")
    return {name: value for name, value in {**config, **changes}.items() if value is not None}


async def _known(call: Call, flow: Flow) -> tuple[Chatflow | None, str]:
    """Return what Flowise tells of a flow, and a sentence about it."""
    flowise = call.bridge.flowise
    if flowise is None:
        return None, "No Flowise is known here (FLOWISE_BASE_URL), so what it honours cannot be said."
    try:
        known = await flowise.chatflow(
            flow, api_key=key_of_flow(flow.api_key_env, call.bridge.settings.flowise_api_key)
        )
    except FlywheelError as error:
        return None, f"What Flowise honours is not known: {error.message}"
    if not known.overrides:
        return known, "The flow's owner has not enabled overriding in Flowise: it ignores every override."
    return known, "Flowise honours what is listed under `accepts`."


class OneFlow(Arguments):
    """A flow."""

    flow_key: FlowKey


class FlowPage(Model):
    """Where a flow is to be seen."""

    flow_key: FlowKeyOut
    flow_id: str
    editor_url: Annotated[str | None, Field(description="Its canvas in Flowise, for who may edit it.")] = None
    chat_url: Annotated[str | None, Field(description="Its public chat page.")] = None
    note: str


@tool("Find a flow's page", READS_OUTSIDE)
async def flowise_browse(call: Call, given: OneFlow) -> FlowPage:
    """Return the addresses of a flow's pages in Flowise, for a person to open in a browser."""
    flow = call.producer.catalog.flow(given.flow_key)
    base = flow.server or call.bridge.settings.flowise_base_url
    if base is None:
        return FlowPage(
            flow_key=flow.key,
            flow_id=flow.id,
            note="No Flowise is known here: set FLOWISE_BASE_URL or start the stack.",
        )
    base = base.rstrip("/").removesuffix("/api/v1")
    known, note = await _known(call, flow)
    canvas = "v2/agentcanvas" if known is not None and known.kind == "AGENTFLOW" else "canvas"
    return FlowPage(
        flow_key=flow.key,
        flow_id=flow.id,
        editor_url=f"{base}/{canvas}/{flow.id}",
        chat_url=f"{base}/chatbot/{flow.id}",
        note="The chat page answers only where the flow is public." if known is not None else note,
    )


TOOLS = (flowise_list_flows, flowise_route, flowise_add_flow, flowise_configure, flowise_browse)
