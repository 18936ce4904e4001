"""Flows as Flowise has them: add one to the registry, find its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.models import Model, Slug
from agentic_flywheel.registry import add_flow, find_registry
from mcp_bridge.arguments import Arguments, FlowKey, ObjectText
from mcp_bridge.configuring import known_flow
from mcp_bridge.tool import ADDS, READS_OUTSIDE, Call, tool


class NewFlow(Arguments):
    """A flow to add."""

    flow_key: Annotated[Slug, Field(description="Its name here: letters, digits, - and _.")]
    flow_id: Annotated[Slug, Field(description="The chatflow's id, as its address in Flowise shows it.")]
    description: Annotated[str, Field(min_length=1, max_length=2000, description="What it is for, in a sentence.")]
    domain: Annotated[Slug | None, Field(description="The domain whose workers ask it; its own one by default.")] = None
    name: Annotated[str, Field(max_length=200, description="What people call it.")] = ""
    keywords: Annotated[tuple[str, ...], Field(max_length=200, description="Words that speak for it.")] = ()
    examples: Annotated[
        tuple[str, ...], Field(max_length=500, description="Questions it is meant for: ten make a good start.")
    ] = ()
    config: Annotated[ObjectText, Field(description="Sent to Flowise as overrideConfig, as JSON.")] = {}


class FlowAdded(Model):
    """A flow that was added."""

    flow_key: str
    domain: str
    registry: Annotated[str, Field(description="The file it was written to.")]
    note: str


@tool("Add a flow", ADDS, Scope.MANAGE, changes=True)
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


class OneFlow(Arguments):
    """A flow."""

    flow_key: FlowKey


class FlowPage(Model):
    """Where a flow is to be seen."""

    flow_key: str
    flow_id: str
    editor_url: Annotated[str | None, Field(description="Its canvas in Flowise, for who may edit it.")] = None
    chat_url: Annotated[str | None, Field(description="Its public chat page.")] = None
    note: str


@tool("Find a flow's page", READS_OUTSIDE, Scope.READ)
async def flowise_browse(call: Call, given: OneFlow) -> FlowPage:
    """Return the addresses of a flow's pages in Flowise, for a person to open in a browser."""
    flow = call.producer.catalog.flow(given.flow_key)
    report, note = await known_flow(call, flow)
    if report is None or report.editor_url is None:
        missing = note if report is None else "The flow's server has no page of it that is known here."
        return FlowPage(flow_key=flow.key, flow_id=flow.id, note=missing)
    known = report.overridable is not None
    return FlowPage(
        flow_key=flow.key,
        flow_id=flow.id,
        editor_url=report.editor_url,
        chat_url=report.chat_url,
        note="The chat page answers only where the flow is public." if known else note,
    )
