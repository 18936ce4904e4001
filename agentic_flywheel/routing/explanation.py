"""More of why a question goes where it goes: what it was read as, its parts by themselves, what rivals rest on."""

from __future__ import annotations

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model, Query
from agentic_flywheel.routing.clauses import cuts
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.router import FittedRouter

_RIVALS = 3


class Part(Model):
    """One part of a question that may concern more than one domain, and what it would be by itself."""

    text: str
    said: str


class Support(Model):
    """One text that speaks for a flow."""

    flow: str
    kind: str
    text: str
    #: Its part of the score, in log-odds.
    weight: float


class Explanation(Model):
    """What a decision rests on."""

    #: The question as the router read it: cut where very long, mistyped words mended.
    read_as: str
    #: The encoder that decided; a second one is asked where the first is unsure.
    reader: str
    high: float
    medium: float
    default: str
    parts: tuple[Part, ...] = ()
    #: What speaks most for each of the likeliest flows.
    rivals: tuple[Support, ...] = ()


def explanation(query: Query, router: FittedRouter, catalog: Catalog) -> Explanation:
    """Return what the decision about a question's text rests on."""
    reading = router.read(query.question)
    order = sorted(range(len(router.flows)), key=reading.chances.__getitem__, reverse=True)[:_RIVALS]
    policy = catalog.policy
    return Explanation(
        read_as=router.mended(query.question),
        reader=reading.reader.read_by,
        high=policy.high,
        medium=policy.medium,
        default=catalog.default.key,
        parts=tuple(
            _part(text, router, catalog)
            for text in dict.fromkeys(part for cut in cuts(clip(query.question)) for part in cut[:2])
        ),
        rivals=tuple(
            Support(flow=router.flows[number], kind=sample.kind, text=sample.text, weight=round(weight, 3))
            for number in order
            for sample, weight in router.contributions(reading, router.flows[number])
        ),
    )


def _part(text: str, router: FittedRouter, catalog: Catalog) -> Part:
    reading = router.read(text)
    best = router.flows[reading.best]
    domain = catalog.routable[best].domain if best in catalog.routable else best
    together = sum(
        chance
        for key, chance in zip(router.flows, reading.chances, strict=True)
        if key in catalog.routable and catalog.routable[key].domain == domain
    )
    if reading.novel:
        return Part(text=text, said="unlike everything the flows are described with")
    needed = catalog.policy.multi_flow_threshold
    verdict = "enough" if together >= needed else "too little"
    return Part(text=text, said=f"{domain} {together:.0%}, {verdict} for a part of its own ({needed:.0%})")
