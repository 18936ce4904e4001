"""A shop's catalog, questions for each of its topics, and people who rate where the questions went."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from routing.catalogs import catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lessons import Lesson
from agentic_flywheel.models import Query, Route
from agentic_flywheel.routing import choose_route, fit_router

#: For each flow its topics, for each topic ways to ask. ``{}`` stands for one of the things below.
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "orders": {
        "delivery": (
            "where is my {}",
            "when does the {} arrive",
            "the courier left my {} at the neighbour's",
            "can you deliver the {} on Saturday",
            "track the parcel with the {}",
            "has the {} been shipped yet",
        ),
        "returns": (
            "I want to send the {} back",
            "how do I return a {} that is too small",
            "give me my money back for the {}",
            "exchange the {} for another size",
            "is the postage free when I give the {} back",
            "print a return label for my {}",
        ),
    },
    "repairs": {
        "damage": (
            "my {} broke after a week",
            "the zip of the {} is stuck",
            "there is a hole in the {}",
            "can you mend a torn {}",
            "the sole of the {} came off",
            "who repairs a scratched {}",
        ),
        "care": (
            "how do I wash the {}",
            "may the {} go into the dryer",
            "remove a wine stain from the {}",
            "which wax protects my {}",
            "the {} smells after the rain, how do I clean it",
            "iron the {} without ruining it",
        ),
    },
    "accounts": {
        "login": (
            "I forgot the password I used for the {} order",
            "my login is locked since I bought the {}",
            "change the e-mail address of my {} subscription",
            "delete my account, I only wanted a {}",
            "two-factor codes never arrive when I pay for the {}",
            "sign me out everywhere, somebody ordered a {}",
        ),
        "invoices": (
            "send me the invoice of the {}",
            "the {} was charged twice on my card",
            "pay for the {} in three instalments",
            "which tax is on the {}",
            "my voucher did not work for the {}",
            "put the company's name on the bill for the {}",
        ),
    },
}
THINGS = (
    "jacket",
    "tent",
    "rain boots",
    "backpack",
    "sleeping bag",
    "climbing rope",
    "wool hat",
    "canoe",
    "head torch",
)
EXAMPLES = 6


def examples(way: str, chance: random.Random, count: int) -> list[str]:
    """Return questions of one way to ask."""
    return [way.format(thing) for thing in chance.sample(THINGS, count)]


def shop(seed: int = 0) -> Catalog:
    """Return the catalog as its author meant it: each way to ask is there once."""
    chance = random.Random(seed)
    return catalog_of(
        *(
            flow(key, topics={topic: tuple(examples(way, chance, 1)[0] for way in ways) for topic, ways in own.items()})
            for key, own in WAYS.items()
        ),
        flow("small-talk", examples=("hello there", "how are you today", "tell me a joke", "thank you very much")),
        fallback_flow="small-talk",
    )


def questions(count: int, seed: int) -> list[tuple[str, str]]:
    """Return different questions, each with the flow that it belongs to."""
    every = [
        (way.format(thing), key)
        for key, own in WAYS.items()
        for ways in own.values()
        for way in ways
        for thing in THINGS
    ]
    return random.Random(seed).sample(every, count)


def routes(catalog: Catalog, asked: Sequence[tuple[str, str]]) -> list[Route]:
    """Return where a worker would send the questions."""
    router = fit_router(catalog)
    return [choose_route(Query(question=question), router, catalog) for question, _ in asked]


def accuracy(catalog: Catalog, asked: Sequence[tuple[str, str]]) -> float:
    """Return the share of the questions that a worker would send where they belong."""
    found = routes(catalog, asked)
    return sum(route.best.flow == right for route, (_, right) in zip(found, asked, strict=True)) / len(asked)


def ratings(catalog: Catalog, asked: Sequence[tuple[str, str]], *, re_routed: bool = False) -> list[Lesson]:
    """Return what people say who ask these questions: 9 for the right flow, 2 for a wrong one, or its correction."""
    lessons = []
    for number, (route, (question, right)) in enumerate(zip(routes(catalog, asked), asked, strict=True)):
        good = route.best.flow == right
        lessons.append(
            lesson(
                question,
                tuple(target.flow for target in route.targets),
                number=number,
                good=None if re_routed and not good else good,
                right=right if re_routed and not good else None,
            )
        )
    return lessons


def lesson(
    question: str,
    flows: tuple[str, ...],
    *,
    number: int = 0,
    good: bool | None = None,
    right: str | None = None,
    unrouted: bool = False,
    in_session: bool = False,
) -> Lesson:
    """Return one lesson."""
    return Lesson(
        query_id=f"q-{number}",
        kind="unrouted" if unrouted else "score" if right is None else "reroute",
        question=question,
        flows=flows,
        right=right,
        good=good,
        in_session=in_session,
        owner="ada",
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    )
