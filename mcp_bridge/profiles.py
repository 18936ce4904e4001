"""Questions with the context of a domain: named here and now, or kept as a profile."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.models import Model
from agentic_flywheel.profiles import ContextType, Privacy, Profile
from agentic_flywheel.profiles.templates import TEMPLATES, Template
from mcp_bridge.arguments import USUAL_WAIT, Arguments, Cache, FlowOverride, Question, SessionId, Timeout, Wait
from mcp_bridge.asking import Ask, start, submit, wait_for
from mcp_bridge.files import BriefFiles
from mcp_bridge.tool import ASKS, Call, Started, tool
from mcp_bridge.views import QueryView

#: Together with the names they stay within what a query may carry.
_Text = Annotated[str, Field(max_length=4_000)]
_Note = Annotated[str, Field(max_length=1_500)]


class DomainAsk(Arguments):
    """A question and the domain that it is asked in."""

    question: Question
    domain_name: Annotated[str, Field(min_length=1, max_length=200, description="What the domain is called.")]
    domain_description: Annotated[_Text, Field(min_length=1, description="What the flow must know of the domain.")]
    context_type: Annotated[ContextType, Field(description="Which kind of context matters for the answer.")]
    stack_info: Annotated[_Note | None, Field(description="The technologies in use, for a technical context.")] = None
    cultural_info: Annotated[_Note | None, Field(description="Whom and which culture it concerns.")] = None
    uploads: BriefFiles | None = None
    flow_override: FlowOverride | None = None
    session_id: SessionId | None = None
    cache: Cache = "use"
    timeout_s: Timeout = 0.0
    wait_s: Wait = USUAL_WAIT


def context_of(given: DomainAsk) -> str:
    """Return what the flow is told beside the question."""
    facts = [
        ("Domain", f"{given.domain_name}: {given.domain_description}"),
        ("Kind of context", given.context_type),
        ("Technologies", given.stack_info),
        ("People and culture", given.cultural_info),
    ]
    return "\n".join(f"{name}: {fact.strip()}" for name, fact in facts if fact)


def _asked(call: Call, given: DomainAsk) -> tuple[Ask, dict[str, str]]:
    ask = Ask(
        question=given.question,
        uploads=given.uploads,
        flow_override=given.flow_override,
        session_id=given.session_id,
        cache=given.cache,
        timeout_s=given.timeout_s,
        wait_s=given.wait_s,
    )
    fields: dict[str, str] = {"context": context_of(given), "context_type": given.context_type}
    profile = _known(call, given.domain_name)
    if profile is not None:
        fields["profile"] = profile.name
    # A domain of the registry has workers of its own.
    if given.flow_override is None and given.domain_name in call.producer.catalog.domains:
        fields["domain"] = given.domain_name
    return ask, fields


def _known(call: Call, name: str) -> Profile | None:
    """Return the caller's profile of this name or title."""
    said = name.strip().casefold()
    readable = call.producer.profiles.readable(call.asker.owner)
    return next((each for each in readable if said in (each.name.casefold(), each.title.casefold())), None)


async def start_in_domain(call: Call, given: DomainAsk) -> Started:
    """Begin a query in a domain without waiting for it."""
    ask, fields = _asked(call, given)
    return await start(call, ask, **fields)


@tool("Ask within a domain", ASKS, Scope.ASK, start=start_in_domain)
async def flowise_domain_query(call: Call, given: DomainAsk) -> QueryView:
    """Ask a question within a domain that you describe: what it is, the technologies in use, the people it concerns.
    The context goes to the flow with the question, in the way that suits the flow, and leans the routing. A domain_name
    that is a domain of flowise_list_flows goes straight to it; one that is a profile of flowise://domain-templates
    brings that profile's context along. Waits and returns like flowise_query, which takes a profile too and needs no
    description."""
    ask, fields = _asked(call, given)
    return await wait_for(call, await submit(call, ask, **fields), given.wait_s)


class ProfileView(Model):
    """One profile that the caller may name. Of a confidential one nothing is said but that it is there."""

    profile: Annotated[str, Field(description="Give it as profile to flowise_query or flowise_submit.")]
    privacy: Privacy
    contexts: Annotated[tuple[ContextType, ...], Field(description="The kinds of context that it has.")]
    title: str | None = None
    description: str | None = None


class DomainTemplates(Model):
    """How to describe a domain, the domains that the registry has, and the profiles that are kept."""

    domains: tuple[str, ...]
    profiles: tuple[ProfileView, ...]
    templates: tuple[Template, ...]


def domain_templates(call: Call) -> DomainTemplates:
    """Return how a domain can be described, and which are described already."""
    return DomainTemplates(
        domains=tuple(call.producer.catalog.domains),
        profiles=tuple(map(_view, call.producer.profiles.readable(call.asker.owner))),
        templates=tuple(TEMPLATES.values()),
    )


def _view(profile: Profile) -> ProfileView:
    view = ProfileView(profile=profile.name, privacy=profile.privacy, contexts=profile.kinds)
    if profile.confidential:
        return view
    return view.model_copy(update={"title": profile.title or None, "description": profile.description})
