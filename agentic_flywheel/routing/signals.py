"""What speaks for a flow beside the question's own text: keyword rules, the session, the profile; as log-priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Turn
from agentic_flywheel.routing.router import FittedRouter
from agentic_flywheel.routing.words import words

#: Log-odds that a signal adds to a flow, unless the registry's ``scoring_weights`` say otherwise.
DEFAULT_WEIGHTS = {
    "keyword": 1.5,  # the first keyword that occurs as whole words; each further one half of the one before
    "session": 0.8,  # the newest of the last three turns went there; older ones half of the one after
    "follow_up": 3.0,  # instead of `session`, where the question only makes sense after the turn before
    "profile": 1.0,  # the profile's keywords point there with certainty; less certain, less weight
}
_TURNS = 3
_DECAY = 0.5
#: A neighbour in the same domain gets this share of what the flow itself gets from the session.
_SAME_DOMAIN = 0.5

#: A longer question stands on its own.
_FOLLOW_UP_WORDS = 12
_OPENERS = frozenset(
    {"and", "but", "so", "then", "also", "or", "plus", "ok", "okay", "well", "now", "again", "because", "why"}
)
_OPENING_PAIRS = frozenset(
    {
        ("what", "about"),
        ("how", "about"),
        ("what", "else"),
        ("what", "if"),
        ("tell", "me"),
        ("go", "on"),
        ("can", "you"),
    }
)
_POINTERS = frozenset(
    {"it", "its", "that", "this", "those", "these", "them", "they", "their", "there", "same", "one", "ones", "more"}
    | {"further", "else", "instead"}
)


class GatheredEvidence(TypedDict):
    """One piece of evidence as it is gathered. The route that it becomes a part of checks it, once."""

    kind: str
    flow: str
    detail: str
    weight: float


@dataclass
class Priors:
    """Log-odds per flow, in the router's order, and the reasons for them."""

    weights: list[float]
    evidence: list[GatheredEvidence] = field(default_factory=list)
    #: Flows that a keyword names; such a question is not foreign.
    named: set[int] = field(default_factory=set)
    follow_up: bool = False

    def add(self, kind: str, flow: int, key: str, weight: float, detail: str) -> None:
        self.weights[flow] += weight
        self.evidence.append({"kind": kind, "flow": key, "detail": detail, "weight": weight})


def priors(
    question: str,
    said: list[str],
    router: FittedRouter,
    catalog: Catalog,
    *,
    turns: Sequence[Turn] = (),
    profile_keywords: Sequence[str] = (),
) -> Priors:
    """Return what the signals beside the text say; ``said`` are the question's words, as a reading has them."""
    weights = DEFAULT_WEIGHTS | catalog.policy.scoring_weights
    found = Priors([0.0] * len(router.flows))
    _from_keywords(found, said, router, weights["keyword"])
    if turns:
        found.follow_up = is_follow_up(question)
        _from_session(found, router, catalog, turns, weights["follow_up" if found.follow_up else "session"])
    if profile_keywords:
        _from_profile(found, router, profile_keywords, weights["profile"])
    return found


def is_follow_up(question: str) -> bool:
    """Whether a question is short and leans on what was said before: "and how …", "what about …", "… it …"."""
    said = words(question)
    if not said or len(said) > _FOLLOW_UP_WORDS:
        return False
    return len(said) <= 2 or said[0] in _OPENERS or tuple(said[:2]) in _OPENING_PAIRS or not _POINTERS.isdisjoint(said)


def _from_keywords(found: Priors, said: list[str], router: FittedRouter, weight: float) -> None:
    for hit in router.keywords.hits(said, weight):
        number = router.flow_number[hit.flow]
        found.named.add(number)
        found.add("keyword", number, hit.flow, hit.weight, f'the question contains the keyword "{hit.keyword}"')


def _from_session(found: Priors, router: FittedRouter, catalog: Catalog, turns: Sequence[Turn], weight: float) -> None:
    places = ("the last question", "the question before it", "the third last question")
    share = weight
    for place, turn in zip(places, reversed(turns[-_TURNS:]), strict=False):
        for number, key in enumerate(router.flows):
            flow = catalog.routable.get(key)
            if key == turn.flow:
                lean = " and this one continues it" if found.follow_up and share == weight else ""
                found.add("session", number, key, share, f"{place} of this session went to {key}{lean}")
            elif flow is not None and flow.domain == turn.domain:
                detail = f"{place} of this session was about {turn.domain}"
                found.add("session", number, key, share * _SAME_DOMAIN, detail)
        share *= _DECAY


def _from_profile(found: Priors, router: FittedRouter, keywords: Sequence[str], weight: float) -> None:
    reading = router.read(" ".join(keywords))
    if reading.novel:
        return
    for number, probability in enumerate(reading.chances):
        if probability >= 0.2:
            detail = "the keywords of the profile point there"
            found.add("profile", number, router.flows[number], weight * probability, detail)
