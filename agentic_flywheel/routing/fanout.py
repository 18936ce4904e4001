"""Recognise a question that concerns several domains, and find who answers which part."""

from __future__ import annotations

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Target
from agentic_flywheel.routing.clauses import cuts
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.router import FittedRouter


def several_domains(question: str, router: FittedRouter, catalog: Catalog) -> tuple[Target, ...]:
    """Return the best flow of each domain that ``question`` concerns; nothing unless there are at least two.

    Each part of a cut must on its own be familiar and reach the policy's ``multi_flow_threshold`` in its domain.
    """
    if len(catalog.domains) < 2:
        return ()
    found: dict[str, Target] = {}
    for cut in cuts(clip(question)):
        first = _side(cut[0], router, catalog)
        second = _side(cut[1], router, catalog) if first is not None else None
        if first is not None and second is not None and first.domain != second.domain:
            for side in (first, second):
                if side.domain not in found or found[side.domain].confidence < side.confidence:
                    found[side.domain] = side
    targets = tuple(found.values())[: catalog.policy.max_targets]
    return targets if len(targets) > 1 else ()


def _side(part: str, router: FittedRouter, catalog: Catalog) -> Target | None:
    reading = router.read(part)
    if reading.novel:
        return None
    best = router.flows[reading.best]
    flow = catalog.routable.get(best)
    if flow is None:
        return None
    together = sum(
        reading.chances[router.flow_number[each.key]]
        for each in catalog.domains[flow.domain]
        if each.key in router.flow_number
    )
    if together < catalog.policy.multi_flow_threshold:
        return None
    return Target(flow=best, domain=flow.domain, confidence=min(1.0, together), topic=router.topic(reading, best).topic)
