"""A question is sure of a flow where some flow is for it, not where it only shares common words with examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from routing.catalogs import LEGACY, catalog_of, flow

from agentic_flywheel.catalog import Catalog, Policy
from agentic_flywheel.models import Query
from agentic_flywheel.routing import choose_route, fit_router
from agentic_flywheel.routing.belonging import UNDOUBTED, belonging_of, doubted
from benchmarks import languages

NARROW = dict(languages.of_folder(languages.FOLDER / "narrow"))


def sure(catalog: Catalog, questions: list[str]) -> int:
    router = fit_router(catalog)
    return sum(choose_route(Query(question=each), router, catalog).band == "high" for each in questions)


def test_two_flows_are_seldom_sure_of_what_is_for_neither() -> None:
    own = foreign = 0
    for domains in NARROW.values():
        catalog = catalog_of(*(flow(key, examples=tuple(domains[key][::2][:8])) for key in ("delivery", "login")))
        own += sure(catalog, [text for key in ("delivery", "login") for text in domains[key][1:20:2]])
        foreign += sure(catalog, [text for key in ("invoice", "hotel") for text in domains[key][:10]])

    # Of 220 each, in eleven languages; without the doubt 196 and 127.
    assert own >= 170
    assert foreign <= 75


def test_what_lowers_the_confidence_is_told() -> None:
    domains = NARROW["de"]
    catalog = catalog_of(*(flow(key, examples=tuple(domains[key][:8])) for key in ("delivery", "login")))

    route = choose_route(Query(question="Bitte schicken Sie mir die Rechnung"), fit_router(catalog), catalog)
    (told,) = [each for each in route.evidence if each.kind == "novelty"]

    assert (route.decision, route.band) == ("single", "medium")
    assert route.confidence < route.scores[route.best.flow]
    assert "may be for none" in told.detail
    assert told.weight < 0


def test_a_keyword_says_that_a_question_is_for_a_flow() -> None:
    examples = {key: tuple(NARROW["de"][key][:8]) for key in ("delivery", "login")}
    question = Query(question="Bitte schicken Sie mir die Rechnung")

    confidence = []
    for keywords in ((), ("Rechnung",)):
        catalog = catalog_of(
            flow("delivery", examples=examples["delivery"], keywords=keywords),
            flow("login", examples=examples["login"]),
        )
        confidence.append(choose_route(question, fit_router(catalog), catalog).confidence)

    assert confidence[0] < confidence[1]


@pytest.mark.parametrize("catalog", [LEGACY, catalog_of(flow("only", examples=("where is it", "is it there")))])
def test_without_examples_of_two_flows_nothing_is_doubted(catalog: Catalog) -> None:
    assert fit_router(catalog).calibration.belonging == UNDOUBTED


def test_examples_that_are_nearer_to_other_flows_tell_nothing() -> None:
    gram = np.array([[1, 0.1, 0.9, 0.9], [0.1, 1, 0.9, 0.9], [0.9, 0.9, 1, 0.1], [0.9, 0.9, 0.1, 1]], np.float32)

    assert belonging_of(gram, np.array([0, 0, 1, 1]), np.ones(4, bool)) == UNDOUBTED


def test_doubt_takes_a_band_away_and_no_flow() -> None:
    policy = Policy()

    assert doubted(0.9, 4.0, policy) == 0.9
    assert doubted(0.9, 0.5, policy) == pytest.approx(0.9 / (1 + math.exp(-0.5)))
    assert doubted(0.9, -4.0, policy) == policy.medium
    assert doubted(0.3, -4.0, policy) == 0.3
