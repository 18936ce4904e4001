"""Decide where a query goes, and say why. Decides only: no I/O, no clock; the same arguments give the same route."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from agentic_flywheel.catalog import Catalog, Flow, Policy
from agentic_flywheel.errors import UnknownFlow
from agentic_flywheel.models import Band, Evidence, Query, Route, Target, Turn
from agentic_flywheel.routing.belonging import doubted
from agentic_flywheel.routing.corpus import plain
from agentic_flywheel.routing.fanout import several_domains
from agentic_flywheel.routing.router import FittedRouter, RouterReading
from agentic_flywheel.routing.signals import GatheredEvidence, Priors, priors

_ALTERNATIVES = 3
#: Probabilities that differ by less are shown as the same.
_SEEN = 1e-5


class Place(TypedDict):
    """The fields of a Target."""

    flow: str
    domain: str
    confidence: float
    topic: str | None


@dataclass(frozen=True)
class _Weighed:
    """A question's text and signals put together: a probability for every flow."""

    router: FittedRouter
    catalog: Catalog
    reading: RouterReading
    priors: Priors
    #: By flow, of those that the router knows.
    chances: dict[str, float]
    #: The same for the catalog's flows, in its order.
    scores: dict[str, float]
    #: The catalog's flows, the likeliest first.
    ranked: list[str]

    def confidence(self, key: str) -> float:
        chance = min(1.0, self.chances.get(key, 0.0))
        if chance <= self.catalog.policy.medium:
            return chance
        # What speaks for a flow beside the text also says that the question is for one.
        belonging = self.reading.belonging + self.priors.weights[self.router.flow_number[key]]
        return doubted(chance, belonging, self.catalog.policy)

    def place(self, key: str) -> Place:
        """Return a target as a route will check it, together with its own fields."""
        return {
            "flow": key,
            "domain": self.catalog.flow(key).domain,
            "confidence": self.confidence(key),
            "topic": self.router.topic(self.reading, key).topic if key in self.chances else None,
        }


def choose_route(
    query: Query,
    router: FittedRouter,
    catalog: Catalog,
    *,
    turns: Sequence[Turn] = (),
    profile_keywords: Sequence[str] = (),
) -> Route:
    """Return where ``query`` goes.

    ``turns`` are the session's, oldest first. An explicit flow wins over an explicit domain, both over ``intent``, and
    all of them over the text. Raises UnknownFlow or UnknownDomain where an explicit name is not in the catalog.
    """
    if query.flow is not None:
        return _explicit(catalog, catalog.flow(query.flow), "the query names the flow")
    if query.domain is None and query.intent is not None:
        return _by_intent(query.intent, catalog)
    weighed = _weigh(query.question, router, catalog, turns, profile_keywords)
    if query.domain is not None:
        return _within(query.domain, weighed)
    return _by_text(query, weighed)


def _weigh(
    question: str, router: FittedRouter, catalog: Catalog, turns: Sequence[Turn], profile_keywords: Sequence[str]
) -> _Weighed:
    reading = router.read(question)
    beside = priors(question, reading.words, router, catalog, turns=turns, profile_keywords=profile_keywords)
    chances = dict(zip(router.flows, _moved(reading.chances, beside), strict=True))
    # A flow that is newer than the fit has no score yet; one that left the catalog has none any more. Six places are
    # enough, and ``round(chance, 6)`` takes many times as long.
    scores = {key: round(chances[key] * 1e6) / 1e6 if key in chances else 0.0 for key in catalog.routable}
    ranked = sorted([key for key in chances if key in scores], key=chances.__getitem__, reverse=True)
    return _Weighed(router, catalog, reading, beside, chances, scores, ranked or [catalog.default.key])


def _moved(chances: list[float], beside: Priors) -> list[float]:
    """Return the chances as the signals beside the text move them."""
    if not beside.evidence:
        return chances
    most = max(beside.weights)
    odds = [chance * math.exp(weight - most) for chance, weight in zip(chances, beside.weights, strict=True)]
    total = sum(odds)
    return [each / total for each in odds]


def _explicit(catalog: Catalog, flow: Flow, why: str, topic: str | None = None) -> Route:
    return Route(
        targets=(Target(flow=flow.key, domain=flow.domain, confidence=1.0, topic=topic),),
        decision="explicit",
        band="high",
        confidence=1.0,
        scores={flow.key: 1.0},
        evidence=(Evidence(kind="explicit", flow=flow.key, detail=why, weight=0.0),),
        reason=f"Asked of {flow.title} because {why}.",
        catalog_revision=catalog.revision,
    )


def _by_intent(intent: str, catalog: Catalog) -> Route:
    if intent in catalog.active:
        return _explicit(catalog, catalog.active[intent], "the query's intent names the flow")
    said = plain(intent)
    for flow in catalog.routable.values():
        for topic in flow.topics:
            if plain(topic) == said:
                return _explicit(catalog, flow, f"the query's intent names its topic {topic}", topic)
    for flow in catalog.routable.values():
        if said in map(plain, flow.keywords):
            return _explicit(catalog, flow, f"the query's intent is its keyword {said}")
    known = sorted({*catalog.active, *(topic for flow in catalog.routable.values() for topic in flow.topics)})
    raise UnknownFlow(intent, known)


def _within(domain: str, weighed: _Weighed) -> Route:
    flows = {flow.key: flow for flow in weighed.catalog.in_domain(domain)}
    among = [key for key in weighed.ranked if key in flows] or list(flows)
    best = flows[among[0]]
    total = sum(weighed.scores.get(key, 0.0) for key in flows)
    confidence = 1.0 if len(flows) == 1 or not total else min(1.0, weighed.scores[best.key] / total)
    why = f"the query names the domain {domain}"
    named: GatheredEvidence = {"kind": "explicit", "flow": best.key, "detail": why, "weight": 0.0}
    return Route.model_validate(
        {
            "targets": (weighed.place(best.key) | {"confidence": confidence},),
            "decision": "explicit",
            "band": _band(confidence, weighed.catalog.policy),
            "confidence": confidence,
            "scores": weighed.scores,
            "novelty": weighed.reading.novelty,
            "evidence": (named, *_evidence(weighed, [best.key])),
            "alternatives": tuple(map(weighed.place, among[1 : 1 + _ALTERNATIVES])),
            "reason": f"Asked of {best.title} because {why}{'' if len(flows) == 1 else ' and it fits best there'}.",
            "catalog_revision": weighed.catalog.revision,
        }
    )


def _by_text(query: Query, weighed: _Weighed) -> Route:
    catalog, policy = weighed.catalog, weighed.catalog.policy
    ranked = weighed.ranked
    confidence = weighed.confidence(ranked[0])
    parts: list[Place] = [
        {"flow": part.flow, "domain": part.domain, "confidence": part.confidence, "topic": part.topic}
        for part in several_domains(query.question, weighed.router, catalog)
    ]
    if parts:
        named = " and ".join(dict.fromkeys(part["domain"] for part in parts))
        reason = f"The question concerns {named}, so each is asked for its part."
        return _route(weighed, "fan_out", parts, reason, _evidence(weighed, [part["flow"] for part in parts]))
    # A keyword's owner has claimed the question, and a follow-up is foreign only without its session.
    known = weighed.priors.follow_up or weighed.router.flow_number.get(ranked[0]) in weighed.priors.named
    novel = weighed.reading.novel and not known
    band = "low" if novel else _band(confidence, policy)
    if band == "low":
        return _unsure(weighed, ranked, novel=novel)
    if band == "medium" and policy.on_medium == "best_two" and len(ranked) > 1:
        two = [weighed.place(key) for key in ranked[:2]]
        names = " and ".join(catalog.flow(each).title for each in ranked[:2])
        reason = f"It could belong to {names}, so both are asked."
        evidence = [*_evidence(weighed, ranked[:2]), *_doubt(weighed, two[0])]
        return _route(weighed, "best_two", two, reason, evidence)
    best = weighed.place(ranked[0])
    evidence = [*_evidence(weighed, ranked[:1]), *_doubt(weighed, best)]
    reason = f"It fits {catalog.flow(ranked[0]).title} best ({confidence:.0%}){_because(evidence, ranked[0])}."
    return _route(weighed, "single", [best], reason, evidence)


def _unsure(weighed: _Weighed, ranked: list[str], *, novel: bool) -> Route:
    catalog = weighed.catalog
    if novel:
        why = "It is unlike everything the flows are described with"
    else:
        why = (
            f"Nothing fits it well enough (best: {catalog.flow(ranked[0]).title}, {weighed.confidence(ranked[0]):.0%})"
        )
    if catalog.policy.on_low == "clarify" and len(ranked) > 1:
        choices = list(map(weighed.place, ranked[:_ALTERNATIVES]))
        evidence = _evidence(weighed, ranked[:_ALTERNATIVES])
        reason = f"{why}, so you are asked which is meant."
        return _route(weighed, "clarify", choices, reason, evidence, novel=novel, band="low")
    target = weighed.place(catalog.default.key)
    reason = f"{why}, so it goes to the default flow {catalog.default.title}."
    return _route(weighed, "default", [target], reason, _evidence(weighed, ranked[:1]), novel=novel, band="low")


def _route(
    weighed: _Weighed,
    decision: str,
    targets: Sequence[Place],
    reason: str,
    evidence: Sequence[GatheredEvidence],
    *,
    novel: bool = False,
    band: Band | None = None,
) -> Route:
    confidence = min(each["confidence"] for each in targets) if decision == "fan_out" else targets[0]["confidence"]
    chosen = [each["flow"] for each in targets]
    likely = weighed.ranked[: _ALTERNATIVES + len(chosen)]
    others = [key for key in likely if key not in chosen][:_ALTERNATIVES]
    if novel:
        detail = "the question is unlike everything the flows are described with"
        evidence = [{"kind": "novelty", "flow": likely[0], "detail": detail, "weight": 0.0}, *evidence]
    if decision == "default":
        detail = "the registry sends questions there that fit nowhere"
        evidence = [{"kind": "default", "flow": chosen[0], "detail": detail, "weight": 0.0}, *evidence]
    return Route.model_validate(
        {
            "targets": tuple(targets),
            "decision": decision,
            "band": band or _band(confidence, weighed.catalog.policy),
            "confidence": confidence,
            "scores": weighed.scores,
            "novelty": weighed.reading.novelty,
            "novel": novel,
            "evidence": tuple(evidence),
            "alternatives": tuple(map(weighed.place, others)),
            "reason": reason,
            "catalog_revision": weighed.catalog.revision,
        }
    )


def _evidence(weighed: _Weighed, flows: Sequence[str]) -> list[GatheredEvidence]:
    """Every signal for every flow, and the texts that speak most for the chosen ones; the strongest first."""
    found = [*weighed.priors.evidence, *[each for key in flows for each in _speaking_for(weighed, key)]]
    return sorted(found, key=lambda each: -abs(each["weight"]))


def _speaking_for(weighed: _Weighed, key: str) -> Iterator[GatheredEvidence]:
    """Yield the catalog's texts that speak most for one flow."""
    if key not in weighed.router.flow_number:
        return
    for sample, weight in weighed.router.contributions(weighed.reading, key):
        quoted = sample.quoted
        if sample.kind == "topic":
            topic = weighed.router.corpus.intents[sample.intent].topic
            kind, detail = "topic", f"resembles {quoted} (topic {topic})"
        elif sample.kind == "example":
            kind, detail = "example", f"resembles {quoted}"
        else:
            kind, detail = "description", f"resembles its {sample.kind} {quoted}"
        yield {"kind": kind, "flow": key, "detail": detail, "weight": weight}


def _doubt(weighed: _Weighed, place: Place) -> Iterator[GatheredEvidence]:
    """Yield what makes a flow less sure than the others' scores say."""
    key, confidence = place["flow"], place["confidence"]
    chance = weighed.scores.get(key, 0.0)
    if chance - confidence > _SEEN:
        detail = "the question is so little like the texts of any flow that it may be for none"
        yield {"kind": "novelty", "flow": key, "detail": detail, "weight": math.log(confidence / chance)}


def _because(evidence: Sequence[GatheredEvidence], flow: str) -> str:
    """The strongest reason for a flow, as the end of a sentence."""
    details = (each["detail"] for each in evidence if each["flow"] == flow and each["weight"] > 0)
    first = next(details, "")
    if not first:
        return ""
    return f": it {first}" if first.startswith("resembles") else f": {first}"


def _band(confidence: float, policy: Policy) -> Band:
    if confidence >= policy.high:
        return "high"
    return "medium" if confidence >= policy.medium else "low"
