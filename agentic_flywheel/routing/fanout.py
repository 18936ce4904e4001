"""Recognise a question that concerns several domains, and choose the flow for each of them."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Target
from agentic_flywheel.routing.belonging import doubted
from agentic_flywheel.routing.clauses import cuts
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.router import FittedRouter

#: Two clauses whose domains are the same with at most this probability need only so much probability each, where the
#: policy does not ask for less.
_SAME, _APART = 0.25, 0.45


def several_domains(question: str, router: FittedRouter, catalog: Catalog) -> tuple[Target, ...]:
    """Return the best flow of each domain that ``question`` concerns; empty where there are fewer than two domains.

    The question is cut in two at each place where a clause ends. A cut counts where each half alone resembles known
    examples and reaches the policy's ``multi_flow_threshold`` in its domain. For two clauses a little less is enough
    where they hardly can be about the same domain.
    """
    if len(catalog.domains) < 2:
        return ()
    found: dict[str, Target] = {}
    needed = catalog.policy.multi_flow_threshold
    for cut in cuts(clip(question)):
        least = min(needed, _APART) if cut.clauses else needed
        first = _side(cut.first, router, catalog, least)
        second = _side(cut.second, router, catalog, least) if first is not None else None
        if first is None or second is None or first.target.domain == second.target.domain:
            continue
        if first.alike(second) <= _SAME or min(first.chance, second.chance) >= needed:
            for side in (first.target, second.target):
                if side.domain not in found or found[side.domain].confidence < side.confidence:
                    found[side.domain] = side
    targets = tuple(found.values())[: catalog.policy.max_targets]
    return targets if len(targets) > 1 else ()


class _Side(NamedTuple):
    """One part of a question: the flow for it, and the probability of its domain and of each."""

    target: Target
    chance: float
    domains: dict[str, float]

    def alike(self, other: _Side) -> float:
        """Return the probability that both parts concern the same domain."""
        return sum(chance * other.domains.get(domain, 0.0) for domain, chance in self.domains.items())


def _side(part: str, router: FittedRouter, catalog: Catalog, least: float) -> _Side | None:
    """Return what one part concerns; None where it is foreign, or its domain has less than ``least`` probability."""
    reading = router.read(part)
    best = router.flows[reading.best]
    if reading.novel or best not in catalog.routable:
        return None
    domains: dict[str, float] = defaultdict(float)
    for key, chance in zip(router.flows, reading.chances, strict=True):
        if key in catalog.routable:
            domains[catalog.routable[key].domain] += chance
    domain = catalog.routable[best].domain
    if domains[domain] < least:
        return None
    chance = min(1.0, domains[domain])
    confidence = doubted(chance, reading.belonging, catalog.policy)
    topic = router.topic(reading, best).topic
    return _Side(Target(flow=best, domain=domain, confidence=confidence, topic=topic), chance, domains)
