"""Questions that concern several domains, and those that only sound like it."""

from __future__ import annotations

import pytest
from routing.several import COMPANY, QUESTIONS, TUNED

from agentic_flywheel.models import Query
from agentic_flywheel.routing import FittedRouter, choose_route, fit_router


@pytest.fixture(scope="module")
def router() -> FittedRouter:
    return fit_router(COMPANY)


@pytest.mark.parametrize(
    ("question", "domains"),
    [
        ("Compare the legal risk and the marketing value of our new product", {"legal", "marketing"}),
        ("Fix the bug in the login page and write a slogan for the launch", {"technical", "marketing"}),
        ("Write a job advert for a lawyer and a database administrator", {"people"}),
        ("What are the terms and conditions of our shop?", {"legal"}),
    ],
)
def test_each_domain_that_a_question_concerns_is_asked_and_no_other(
    question: str, domains: set[str], router: FittedRouter
) -> None:
    route = choose_route(Query(question=question), router, COMPANY)

    assert {target.domain for target in route.targets} == domains
    assert (route.decision == "fan_out") == (len(domains) > 1)


def test_of_the_questions_made_for_it_nine_in_ten_are_told_apart(router: FittedRouter) -> None:
    right = [
        (choose_route(Query(question=question), router, COMPANY).decision == "fan_out") == (len(domains) > 1)
        for question, domains in QUESTIONS[:TUNED]
    ]

    assert sum(right) / len(right) >= 0.9


def test_at_most_as_many_domains_are_asked_as_the_policy_allows() -> None:
    one = COMPANY.model_copy(update={"policy": COMPANY.policy.model_copy(update={"max_targets": 1})})

    route = choose_route(
        Query(question="Fix the bug in the login page and write a slogan for the launch"), fit_router(one), one
    )

    assert len(route.targets) == 1
    assert route.decision != "fan_out"


def test_a_part_that_fits_nowhere_well_is_not_fanned_out() -> None:
    strict = COMPANY.model_copy(update={"policy": COMPANY.policy.model_copy(update={"multi_flow_threshold": 1.0})})

    question = "Compare the legal risk and the marketing value of our new product"

    assert choose_route(Query(question=question), fit_router(strict), strict).decision != "fan_out"
