"""Flows over HTTP: which there are, and where a question would go."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import UnknownFlow
from agentic_flywheel.given import Question
from agentic_flywheel.models import Band, Identifier, Model, Slug
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.json_body import QUESTION_BODY, BodyOf
from http_gateway.native.bodies import HttpBody
from http_gateway.native.shown import response_of
from http_gateway.problems import problem_response
from mcp_bridge.discretion import outward
from mcp_bridge.flows import RouteQuestion, RouteTarget, RouteView, flow_list, flowise_route

router = APIRouter(prefix="/v1", tags=["flows"])
Asker = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]


class HttpFormField(Model):
    """One field of the form with which a flow begins."""

    name: str
    type: str
    required: bool = True
    options: tuple[str, ...] = ()


class HttpFlow(Model):
    """One flow of the registry."""

    flow: str
    name: str
    domain: str
    description: str
    active: bool
    #: Whether it gets what fits nowhere.
    default: bool
    keywords: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    form: tuple[HttpFormField, ...] = ()
    #: Names of its settings. Their values are for whoever may change them.
    config: tuple[str, ...] = ()
    #: The protocol that its server speaks.
    backend: str
    #: Whether its answers are kept for who asks the same.
    cached: bool
    fallback: str | None = None


class HttpFlowList(Model):
    """The flows, and their domains."""

    flows: tuple[HttpFlow, ...]
    domains: tuple[str, ...]
    #: Changes whenever the registry does.
    revision: str


class HttpRouteQuestion(HttpBody):
    """A question whose way is asked for."""

    question: Question
    session_id: Annotated[Identifier | None, Field(description="Judge it as a follow-up there.")] = None
    profile: Slug | None = None


_QUESTION = BodyOf(HttpRouteQuestion, QUESTION_BODY)


class HttpTarget(Model):
    """One flow that a question would go to."""

    flow: str
    domain: str
    confidence: float
    topic: str | None = None


class HttpEvidence(Model):
    """One reason for a route; ``weight``: how much it moved the score, in log-odds."""

    flow: str
    kind: str
    detail: str
    weight: float


class HttpRoutePreview(Model):
    """Where a question would go, and why."""

    targets: tuple[HttpTarget, ...]
    decision: str
    band: Band
    confidence: float
    reason: str
    #: Whether the question resembles nothing that the flows are for.
    novel: bool
    novelty: float
    scores: dict[str, float]
    evidence: tuple[HttpEvidence, ...]
    alternatives: tuple[HttpTarget, ...]


@router.get("/flows", summary="List flows", responses={200: {"model": HttpFlowList}})
async def list_flows(caller: Asker, domain: Annotated[Slug | None, Query()] = None) -> Response:
    """List the flows of the registry, or those of a domain."""
    catalog = caller.producer.catalog
    found = flow_list(catalog, domain)
    shown = tuple(_shown(catalog.flows[each.flow_key], each.examples, each.default) for each in found.flows)
    return response_of(HttpFlowList(flows=shown, domains=found.domains, revision=found.revision))


@router.get("/flows/{flow}", summary="Look at a flow", responses={200: {"model": HttpFlow}})
async def look(caller: Asker, flow: Annotated[Slug, Path()]) -> Response:
    """Return one flow of the registry."""
    catalog = caller.producer.catalog
    for each in flow_list(catalog).flows:
        if each.flow_key == flow:
            return response_of(_shown(catalog.flows[flow], each.examples, each.default))
    # In a body an unknown flow is a field that does not fit; in a path it is something that is not there.
    return problem_response(outward(UnknownFlow(flow, list(catalog.active))), 404)


def _shown(flow: Flow, examples: tuple[str, ...], default: bool) -> HttpFlow:
    return HttpFlow(
        flow=flow.key,
        name=flow.title,
        domain=flow.domain,
        description=flow.description or flow.purpose,
        active=flow.active,
        default=default,
        keywords=flow.keywords,
        examples=examples,
        form=tuple(
            HttpFormField(name=each.name, type=each.type, required=each.required, options=each.options)
            for each in flow.form
        ),
        config=tuple(flow.config),
        backend=flow.backend,
        cached=flow.cache != "off",
        fallback=flow.fallback,
    )


@router.post(
    "/route",
    summary="Preview a route",
    responses={200: {"model": HttpRoutePreview}},
    openapi_extra=_QUESTION.shown,
)
async def preview(caller: Asker, given: Annotated[HttpRouteQuestion, Depends(_QUESTION)]) -> Response:
    """Show which flow a question would go to and why. Calls no flow and submits nothing."""
    asked = RouteQuestion(question=given.question, session_id=given.session_id, profile=given.profile)
    found = await flowise_route.run(caller.call, asked)
    assert isinstance(found, RouteView)
    return response_of(
        HttpRoutePreview(
            targets=tuple(map(_target, found.targets)),
            decision=found.decision,
            band=found.band,
            confidence=found.confidence,
            reason=found.reason,
            novel=found.novel,
            novelty=found.novelty,
            scores=found.scores,
            evidence=tuple(
                HttpEvidence(flow=each.flow_key, kind=each.kind, detail=each.detail, weight=each.weight)
                for each in found.evidence
            ),
            alternatives=tuple(map(_target, found.alternatives)),
        )
    )


def _target(target: RouteTarget) -> HttpTarget:
    return HttpTarget(flow=target.flow_key, domain=target.domain, confidence=target.confidence, topic=target.topic)
