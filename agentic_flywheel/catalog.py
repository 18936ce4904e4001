"""What the flows are: the nouns that a flow registry describes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, TypeAdapter, ValidationError

from agentic_flywheel.errors import UnknownDomain, UnknownFlow
from agentic_flywheel.given import MAX_FIELD_NAME
from agentic_flywheel.http_flows import AnswerPlace, RequestTemplate
from agentic_flywheel.models import Model, Probability, Slug
from agentic_flywheel.openai_flows import Sampling
from agentic_flywheel.prices import Prices
from agentic_flywheel.secret_values import secret_texts
from agentic_flywheel.servers import BackendName, FlowServer, KeyVariable

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*$")
_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h|d)\s*$")
_NO_DURATION = "should be a duration such as 90s, 15m, 7d"
_ISO_DURATION = TypeAdapter[timedelta](timedelta)
_LONGEST = 100 * 366 * 86400
_TRUTH = TypeAdapter[bool](bool)


def parse_duration(value: Any) -> Any:
    """Return seconds, or text such as ``90s``, ``15m``, ``7d``, ``PT90S``, as a timedelta; else leave it as it is."""
    if isinstance(value, bool):  # else it would pass for 0 or 1 second
        raise ValueError(_NO_DURATION)
    if isinstance(value, str):
        try:
            match = _DURATION.match(value)
            value = float(match[1]) * _UNITS[match[2] or "s"] if match else _ISO_DURATION.validate_python(value)
        except ValidationError:
            raise ValueError(_NO_DURATION) from None
    if isinstance(value, int | float | timedelta):
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        # Beyond a century it is a slip, and far beyond it timedelta and Redis overflow.
        if not abs(seconds) <= _LONGEST:  # so written, it is true of NaN as well
            raise ValueError("should be a duration of at most a hundred years")
        return timedelta(seconds=seconds)
    return value


def parse_rate(value: Any) -> Any:
    """Return calls per second from text such as ``10/s``, ``60/m``; else leave it for the validator."""
    if isinstance(value, str) and (match := _RATE.match(value)):
        return float(match[1]) / _UNITS[match[2]]
    return value


def parse_cache(value: Any) -> Any:
    """Return what a truth means, which older registries have in its place; else leave it for the validator."""
    try:
        return "owner" if _TRUTH.validate_python(value) else "off"
    except ValidationError:
        return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
#: A duration that must not be zero, nor so short that it is zero in Redis.
PositiveDuration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(milliseconds=1))]
Rate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0, allow_inf_nan=False)]
#: A text that says something.
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

#: Who is given an answer, from the fewest to all.
_SCOPES = ("off", "owner", "shared")

#: TTL of an answer where neither the registry nor the flow's domain says otherwise.
DEFAULT_TTL = timedelta(days=7)


class FormField(Model):
    """One field of the form with which a flow begins."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[Phrase, Field(max_length=MAX_FIELD_NAME)]
    type: Literal["string", "number", "boolean", "options"] = "string"
    #: A field that is left out stands in the flow's prompts as ``{{ $form.name }}``: Flowise puts nothing in its place.
    required: bool = True
    #: What may be chosen; none given: any text.
    options: tuple[Phrase, ...] = ()


class PublicAccess(Model):
    """What people without a token may do with a flow: those who use a web page in which it is embedded."""

    #: Pages that may: each as a browser names it, such as `https://shop.example.com`; `*`: all of them.
    origins: Annotated[tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s?#@]+)$")], ...], Field(min_length=1)]
    #: Questions that all of these people together may ask within a minute, and have open at once.
    queries_a_minute: Annotated[int, Field(ge=1)] = 60
    under_way: Annotated[int, Field(ge=1)] = 20
    #: Whether files may go with their questions.
    uploads: bool = False

    def admits(self, origin: str | None) -> bool:
        """Return whether a page of this origin may; None: no browser sent it."""
        return "*" in self.origins or origin in self.origins


#: Keys of a flow that a backend reads, and not every other does. Its answers depend on them.
KEYS_OF_BACKENDS: dict[BackendName, tuple[str, ...]] = {
    "flowise": (),
    "openai": ("model", "system", "sampling"),
    "http": ("request", "answer"),
}


class Flow(Model):
    """One flow as the registry describes it. Unknown keys are kept for a rewrite of the file, not here."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    #: The flow's name in the registry, commands and answers.
    key: Slug
    #: The chatflow's uuid in Flowise, safe in the path of an address. Other backends need none: it is the key there.
    id: Slug
    name: str = ""
    description: str = ""
    purpose: str = ""
    domain: Slug
    active: bool = True
    session_format: str = ""
    #: The form with which it begins; empty: it takes questions, or nobody has said which form.
    form: tuple[FormField, ...] = ()
    #: Sent as ``overrideConfig``; Flowise honours what the flow's owner has enabled.
    config: dict[str, JsonValue] = {}
    keywords: tuple[Phrase, ...] = Field(default=(), alias="intent_keywords")
    topics: dict[Phrase, tuple[Phrase, ...]] = {}
    examples: tuple[Phrase, ...] = ()
    ttl: PositiveDuration = DEFAULT_TTL
    #: Serve an expired answer for this long while a fresh one is computed.
    stale_while_revalidate: Duration = timedelta(0)
    #: Remember a permanent failure for this long, so that it is not asked again at once.
    failure_ttl: Duration = timedelta(seconds=10)
    #: Who is given a kept answer: everybody, only whom it was given to (owner and user), or nobody.
    cache: Annotated[Literal["shared", "owner", "off"], BeforeValidator(parse_cache)] = "owner"
    #: Which questions are the same one: those that are written alike, or alike but for case and white space.
    match: Literal["exact", "loose"] = "exact"
    #: Longest time of a whole call before it is cut.
    timeout: PositiveDuration = timedelta(seconds=120)
    #: Longest silence of an answer that has begun.
    idle_timeout: PositiveDuration = timedelta(seconds=60)
    #: Calls per second over all workers; None: no limit.
    rate: Rate | None = None
    #: Calls at once over all workers; None: as many as its server takes.
    concurrency: Annotated[int, Field(ge=1)] | None = None
    #: Attempts in all, the first included.
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    fallback: Slug | None = None
    #: Who remembers the conversation: Flowise by session id, we by sending history, or nobody.
    memory: Literal["flowise", "history", "none"] = "flowise"
    #: Most turns, and characters of them, that are sent as history; the newest are kept.
    history_turns: Annotated[int, Field(ge=1, le=1000)] = 40
    history_chars: Annotated[int, Field(ge=100, le=1_000_000)] = 24_000
    streaming: bool = True
    #: How a profile's context reaches the flow.
    injection: Literal["prepend", "system", "vars"] = "prepend"
    #: Name of the environment variable that holds this flow's key.
    api_key_env: KeyVariable | None = None
    #: Who may ask it over HTTP without a token, where FLYWHEEL_HTTP_VISITORS is on; None: nobody.
    public: PublicAccess | None = None
    #: Address of its server; None: of the Flowise at FLOWISE_BASE_URL. The registry may give the name of one instead.
    server: Annotated[str, Field(pattern=r"^https?://")] | None = None
    #: What the registry says of that server under its name; None where it gives the address alone.
    served_by: Annotated[FlowServer | None, Field(exclude=True)] = None
    #: The protocol that it is asked by.
    backend: BackendName = "flowise"
    #: Of `openai`: the model. Of others: the one whose price their tokens have, where their server tells no model.
    model: Annotated[Phrase, Field(max_length=200)] | None = None
    #: Of `openai`: what the model is told before the conversation, and settings such as `temperature`.
    system: Annotated[str, Field(max_length=1_000_000)] = ""
    sampling: Sampling = {}
    #: Of `http`: what is sent, and where in the response the answer stands.
    request: RequestTemplate | None = None
    answer: AnswerPlace | None = None

    @cached_property
    def revision(self) -> str:
        """Hash of what determines this flow's answers; a change invalidates its cached answers by construction."""
        common = {
            "id": self.id,
            "config": self.config,
            "memory": self.memory,
            "injection": self.injection,
            "server": self.server,
        }
        if self.backend == "flowise":
            return _digest(common)
        own = {"backend", *KEYS_OF_BACKENDS[self.backend]}
        return _digest(common | self.model_dump(mode="json", include=own))

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What the registry itself has in its configuration and in the headers of its requests and is secret."""
        return (*secret_texts(self.config), *(secret_texts(self.request.headers) if self.request else ()))

    @property
    def title(self) -> str:
        return self.name or self.key


class EncoderServer(Model):
    """An OpenAI-compatible server of embeddings, for the questions that routing is unsure of."""

    #: The address below which ``/embeddings`` is, such as ``https://api.openai.com/v1``.
    url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^@?#\s]*)?$", max_length=500)]
    model: Phrase
    #: Name of the environment variable that holds the key; None: the server wants none.
    api_key_env: KeyVariable | None = None


#: What adds to a flow's log-odds beside a question's text, by the names of ``scoring_weights``.
SIGNALS = ("keyword", "session", "follow_up", "profile")


class Policy(Model):
    """How routes are decided: the registry's ``intent_classification``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Where questions go that fit nowhere.
    fallback_flow: Slug | None = None
    high: Probability = 0.70
    medium: Probability = 0.40
    #: A second domain is asked too when its own evidence reaches this.
    multi_flow_threshold: Probability = 0.55
    #: At most so many domains for one question.
    max_targets: Annotated[int, Field(ge=1, le=8)] = 3
    on_medium: Literal["best", "best_two"] = "best"
    on_low: Literal["default", "clarify"] = "default"
    #: A flow that turns several domains' answers into one; without it the parts are merged.
    synthesis_flow: Slug | None = None
    #: A flow for what chat programs ask beside a conversation: its title, tags, follow-ups. None: they are refused.
    side_calls: Slug | None = None
    #: Weights of the signals beside the text, as log-priors.
    scoring_weights: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    #: Reads again what routing is unsure of; without it, the extra ``encoder`` does, where it is installed.
    encoder: EncoderServer | None = None

    @property
    def reserved(self) -> tuple[str | None, ...]:
        """The flows that have a task of their own, and are given no questions."""
        return self.synthesis_flow, self.side_calls


class Catalog(Model):
    """All flows of one registry, with the revision that names this very content."""

    flows: dict[str, Flow]
    #: Those that have a name, by it.
    servers: dict[str, FlowServer] = {}
    policy: Policy = Policy()
    #: What the models cost that answer the flows' questions.
    prices: Prices = Prices()
    #: Where it was read from, for messages.
    source: str = ""
    revision: str = ""

    @cached_property
    def active(self) -> dict[str, Flow]:
        """The flows that take questions, by key."""
        return {key: flow for key, flow in self.flows.items() if flow.active}

    @cached_property
    def domains(self) -> dict[str, tuple[Flow, ...]]:
        """The active flows of each domain, in the registry's order."""
        found: dict[str, list[Flow]] = {}
        for flow in self.active.values():
            found.setdefault(flow.domain, []).append(flow)
        return {domain: tuple(flows) for domain, flows in found.items()}

    @cached_property
    def routable(self) -> dict[str, Flow]:
        """The active flows that a classification may choose: none with its own task, none that begins with a form."""
        return {key: flow for key, flow in self.active.items() if key not in self.policy.reserved and not flow.form}

    @property
    def default(self) -> Flow:
        """The flow for questions that fit nowhere: the named one, else the first."""
        named = self.active.get(self.policy.fallback_flow or "")
        return named or next(iter(self.routable.values()))

    def flow(self, key: str) -> Flow:
        """Return an active flow. Raises UnknownFlow."""
        try:
            return self.active[key]
        except KeyError:
            raise UnknownFlow(key, sorted(self.active), inactive=key in self.flows) from None

    def answering_for(self, asked: str, fallback: Flow) -> Flow:
        """Return a fallback as it answers what was asked of another one: for as few people as any between them says.

        What a flow allows that has left the registry is not known, so nobody else is given the answer.
        """
        scopes, passed, key = {fallback.cache}, {fallback.key}, asked
        while key not in passed:
            passed.add(key)
            flow = self.flows.get(key)
            scopes.add(flow.cache if flow else "off")
            key = flow.fallback or fallback.key if flow else fallback.key
        return fallback.model_copy(update={"cache": min(scopes, key=_SCOPES.index)})

    def in_domain(self, domain: str) -> tuple[Flow, ...]:
        """Return the active flows of a domain. Raises UnknownDomain."""
        try:
            return self.domains[domain]
        except KeyError:
            raise UnknownDomain(domain, sorted(self.domains)) from None


def revision_of(flows: Mapping[str, Flow], policy: Policy, servers: Mapping[str, FlowServer]) -> str:
    """Return the hash of everything that routing and answering read from a registry."""
    return _digest(
        {
            "flows": {key: flow.model_dump(mode="json") for key, flow in flows.items()},
            "policy": policy.model_dump(mode="json"),
            "servers": {name: server.model_dump(mode="json") for name, server in servers.items()},
        }
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
