"""Where a query goes: the nouns of a route."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from agentic_flywheel.base import Band, Measure, Model, Probability


class Target(Model):
    """One flow that a route leads to."""

    flow: str
    domain: str
    confidence: Probability
    #: The sub-intent that decided, where the catalog has topics.
    topic: str | None = None


class Evidence(Model):
    """One reason for a route, in words."""

    kind: Literal["explicit", "keyword", "example", "topic", "session", "profile", "novelty", "default", "description"]
    flow: str
    detail: str
    #: How much it moved the score, in log-odds; the sign says which way.
    weight: Measure


class RouteDecision(Model):
    """The part of a route that is copied into answers; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    targets: tuple[Target, ...] = Field(min_length=1)
    decision: Literal["explicit", "single", "best_two", "fan_out", "default", "clarify"]
    band: Band
    confidence: Probability
    #: One sentence for a person.
    reason: str = ""

    @property
    def best(self) -> Target:
        return self.targets[0]


class Route(RouteDecision):
    """The decision where a query goes, and why."""

    model_config = ConfigDict(extra="forbid")

    #: Calibrated probability per flow, all active flows.
    scores: dict[str, Measure] = Field(default_factory=dict)
    #: How foreign the question is to every example, 0..1; ``novel`` says whether that passed the threshold.
    novelty: Probability = 0.0
    novel: bool = False
    evidence: tuple[Evidence, ...] = ()
    alternatives: tuple[Target, ...] = ()
    catalog_revision: str = ""
