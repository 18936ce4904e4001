"""The tools about flows: which there are, and where a question would go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.sessions import session_profile
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.forms import described
from agentic_flywheel.models import Band, Model, Slug, Target, read_query
from mcp_bridge.arguments import Arguments, ProfileName, Question, SessionId
from mcp_bridge.tool import READS, Call, tool

#: So many examples and keywords tell what a flow is for.
_SOME = 5
#: As many of a session's turns as a worker looks at.
_TURNS = 3


class WhichFlows(Arguments):
    """Which flows are wanted. No tool is without arguments: OpenAI's strict mode and google-genai write an object
    without fields in ways that exclude each other."""

    domain: Annotated[Slug | None, Field(description="Only those of this domain.")] = None


class FlowView(Model):
    """One flow of the registry."""

    flow_key: str
    domain: str
    description: str
    default: Annotated[bool, Field(description="Gets what fits nowhere.")]
    examples: tuple[str, ...]
    #: What to fill in instead of a question.
    form: str | None = None
    #: The chatflow's id in Flowise.
    flow_id: SkipJsonSchema[str]
    name: SkipJsonSchema[str]
    active: SkipJsonSchema[bool]
    keywords: SkipJsonSchema[tuple[str, ...]]
    #: Names of its settings. Their values are for whoever may change them.
    config: SkipJsonSchema[tuple[str, ...]]
    #: The protocol that its server speaks.
    backend: SkipJsonSchema[str]
    memory: SkipJsonSchema[str]
    #: Whether its answers are kept for who asks the same.
    cached: SkipJsonSchema[bool]
    fallback: SkipJsonSchema[str | None] = None


class FlowList(Model):
    """All flows."""

    flows: tuple[FlowView, ...]
    domains: tuple[str, ...]
    #: Where they are written.
    registry: SkipJsonSchema[str]
    #: Changes whenever the registry does.
    revision: SkipJsonSchema[str]

    @property
    def rest(self) -> str:
        """Where the whole is, if this has to be cut."""
        return "flowise://flows has all."


def flow_list(catalog: Catalog, domain: str | None = None) -> FlowList:
    """Return what the catalog holds, or a domain of it."""
    default = catalog.default.key
    return FlowList(
        flows=tuple(_flow(flow, default) for flow in catalog.flows.values() if domain in (None, flow.domain)),
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
        form=described(flow.form) or None,
        config=tuple(flow.config),
        backend=flow.backend,
        memory=flow.memory,
        cached=flow.cache != "off",
        fallback=flow.fallback,
    )


@tool("List flows", READS, Scope.ASK)
async def flowise_list_flows(call: Call, given: WhichFlows) -> FlowList:
    """List the flows: flow_key, domain and what each is for. Read it before you aim a question."""
    return flow_list(call.producer.catalog, given.domain)


class RouteQuestion(Arguments):
    """A question whose way is asked for."""

    question: Question
    session_id: SessionId | None = None
    profile: ProfileName | None = None


class EvidenceView(Model):
    """One reason for a route."""

    flow_key: str
    kind: str
    detail: str
    weight: Annotated[float, Field(description="How much it moved the score, in log-odds.")]


class RouteTarget(Model):
    """One flow that a question would go to."""

    flow_key: str
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
    evidence: tuple[EvidenceView, ...]
    alternatives: tuple[RouteTarget, ...]


@tool("Preview a route", READS, Scope.ASK)
async def flowise_route(call: Call, given: RouteQuestion) -> RouteView:
    """Show which flow a question would go to and why: confidence, evidence, scores, alternatives. Calls no flow and
    submits nothing. With session_id it is judged as a follow-up in that conversation, under the profile it carries."""
    query = read_query({"question": given.question, "session_id": given.session_id, "owner": call.asker.owner})
    from agentic_flywheel.routing import choose_route

    turns, profile = [], given.profile
    if given.session_id is not None:
        turns = await call.producer.history(given.session_id, limit=_TURNS)
        profile = profile or await session_profile(call.producer.batch, given.session_id, asker=call.asker)
    keywords = call.producer.profiles.get(profile, call.asker.owner).keywords if profile else ()
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
            EvidenceView(flow_key=each.flow, kind=each.kind, detail=each.detail, weight=round(each.weight, 3))
            for each in route.evidence
        ),
        alternatives=tuple(map(_target, route.alternatives)),
    )


def _target(target: Target) -> RouteTarget:
    return RouteTarget(
        flow_key=target.flow, domain=target.domain, confidence=round(target.confidence, 4), topic=target.topic
    )
