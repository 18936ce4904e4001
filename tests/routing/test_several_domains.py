"""Questions that concern several domains, and those that only sound like it."""

from __future__ import annotations

import pytest
from routing.catalogs import catalog_of, flow
from routing.several import COMPANY, QUESTIONS, TUNED, two_domains

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


def test_of_the_questions_about_two_domains_seven_in_ten_are_seen_and_few_others_are_cut(router: FittedRouter) -> None:
    fanned = {
        name: [choose_route(Query(question=each), router, COMPANY).decision == "fan_out" for each in questions]
        for name, questions in two_domains().items()
    }

    assert sum(fanned["developed: two"]) >= 42
    assert sum(fanned["developed: one"]) <= 3


#: Of two domains, in languages with words, with marks, and without spaces between clauses.
PARCELS = {
    "de": ("Wann kommt mein Paket", "Die Lieferung ist zu spät", "Wo ist meine Sendung", "Paket beim Nachbarn abgeben"),
    "ko": ("택배가 언제 도착하나요", "배송이 너무 늦어요", "배송지 주소를 바꾸고 싶어요", "택배가 어디에 있나요"),
    "zh": ("我的包裹什么时候到", "快递太慢了", "我想改收货地址", "包裹现在在哪里"),
    "hi": ("मेरा पार्सल कब आएगा", "डिलीवरी में देर हो रही है", "पार्सल अभी कहाँ है", "डिलीवरी का पता बदलना है"),
}
INVOICES = {
    "de": (
        "Schicken Sie mir die Rechnung",
        "Die Rechnung ist falsch",
        "Rechnung als PDF",
        "Wann ist die Rechnung fällig",
    ),
    "ko": ("청구서를 보내 주세요", "청구 금액이 틀려요", "청구서를 PDF로 받고 싶어요", "청구서는 언제 나와요"),
    "zh": ("请把发票寄给我", "发票金额不对", "我要电子发票", "发票什么时候开"),
    "hi": ("मुझे बिल भेज दीजिए", "बिल की रकम गलत है", "बिल पीडीएफ में चाहिए", "बिल कब आएगा"),
}


@pytest.mark.parametrize(
    ("language", "two", "one"),
    [
        (
            "de",
            "Wann kommt mein Paket und warum ist die Rechnung falsch",
            "Wo ist meine Sendung und wann kommt das Paket endlich",
        ),
        ("ko", "택배가 어디에 있나요 그리고 청구서를 보내 주세요", "택배가 어디에 있나요 그리고 배송이 너무 늦어요"),
        ("zh", "我的包裹现在在哪里，请把发票寄给我", "我的包裹现在在哪里，快递太慢了"),
        ("hi", "मेरा पार्सल कब आएगा। मुझे बिल भेज दीजिए", "मेरा पार्सल कब आएगा। डिलीवरी का पता बदलना है"),
    ],
)
def test_clauses_meet_where_their_language_has_it(language: str, two: str, one: str) -> None:
    catalog = catalog_of(
        flow("parcels", "parcels", examples=PARCELS[language]),
        flow("invoices", "invoices", examples=INVOICES[language]),
    )
    router = fit_router(catalog)

    decisions = [choose_route(Query(question=each), router, catalog).decision for each in (two, one)]

    assert decisions == ["fan_out", "single"]


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
