"""Where a query goes, and what the route says about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from routing.catalogs import BUNDLED, CREATIVE, DOCUMENTS, LEGACY, TECHNICAL, catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import UnknownDomain, UnknownFlow
from agentic_flywheel.models import Query, Route, Turn
from agentic_flywheel.routing import FittedRouter, choose_route, fit_router


def ask(
    question: str, router: FittedRouter, catalog: Catalog = BUNDLED, *, turns: Sequence[Turn] = (), **rest: str
) -> Route:
    return choose_route(Query(question=question, **rest), router, catalog, turns=turns)


def turn(question: str, key: str, domain: str) -> Turn:
    return Turn(
        query_id="q", question=question, answer="…", flow=key, domain=domain, at=datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("question", "key", "topic"),
    [
        ("write me a story about dragons", "creative-orientation", "writing"),
        ("why is my postgres query so slow", "technical-analysis", "performance"),
        ("what does the handbook say about holidays", "document-qa", "lookup"),
        ("the build crashes with an exception", "technical-analysis", "debugging"),
    ],
)
def test_a_question_goes_where_the_examples_like_it_are(
    question: str, key: str, topic: str, router: FittedRouter
) -> None:
    route = ask(question, router)

    assert (route.best.flow, route.best.topic, route.decision) == (key, topic, "single")
    assert route.band == "high"
    assert sum(route.scores.values()) == pytest.approx(1, abs=1e-3)
    assert route.catalog_revision == BUNDLED.revision


def test_a_route_tells_which_examples_decided(router: FittedRouter) -> None:
    route = ask("write me a story about dragons", router)

    assert any("lighthouse keeper" in each.detail and each.weight > 0 for each in route.evidence)
    assert "Creative Orientation" in route.reason
    assert route.reason.endswith(".")


def test_a_named_flow_wins_over_everything(router: FittedRouter) -> None:
    route = ask(
        "write me a story about dragons", router, flow="technical-analysis", domain="documents", intent="summary"
    )

    assert route.decision == "explicit"
    assert [target.flow for target in route.targets] == ["technical-analysis"]
    assert route.evidence[0].kind == "explicit"


def test_a_named_domain_gets_its_best_flow() -> None:
    sql = flow("sql", "technical", examples=("speed up this query", "which index is missing", "write a join"))
    web = flow("web", "technical", examples=("centre a div", "style the button", "why does the page flicker"))
    catalog = catalog_of(CREATIVE, sql, web)
    router = fit_router(catalog)

    assert ask("my select is slow", router, catalog, domain="technical").best.flow == "sql"
    assert ask("the button has the wrong style", router, catalog, domain="technical").best.flow == "web"
    assert ask("write a poem", router, catalog, domain="technical").best.domain == "technical"


def test_an_intent_names_a_topic_a_flow_or_a_keyword(router: FittedRouter) -> None:
    assert ask("hello", router, intent="performance").best.topic == "performance"
    assert ask("hello", router, intent="document-qa").best.flow == "document-qa"
    assert ask("hello", router, intent="pdf").best.flow == "document-qa"


def test_an_unknown_name_is_refused_with_the_known_ones(router: FittedRouter) -> None:
    with pytest.raises(UnknownFlow, match="technical-analysis"):
        ask("hello", router, flow="nowhere")
    with pytest.raises(UnknownDomain, match="documents"):
        ask("hello", router, domain="nowhere")
    with pytest.raises(UnknownFlow, match="performance"):
        ask("hello", router, intent="nowhere")


def test_a_keyword_counts_as_whole_words_only(router: FittedRouter) -> None:
    with_keyword = ask("is there a story in this", router)
    without = ask("is the storyboard ready", router)

    assert [each.detail for each in with_keyword.evidence if each.kind == "keyword"] == [
        'the question contains the keyword "story"'
    ]
    assert not [each for each in without.evidence if each.kind == "keyword"]


def test_the_registry_sets_the_weight_of_a_signal() -> None:
    heavy = catalog_of(CREATIVE, TECHNICAL, DOCUMENTS, scoring_weights={"keyword": 9.0})
    route = ask("tell me the story of our database", fit_router(heavy), heavy)

    assert {each.weight for each in route.evidence if each.kind == "keyword"} == {9.0}


def test_a_follow_up_goes_where_the_session_was(legacy_router: FittedRouter) -> None:
    before = [turn("my loop is slow", "technical-analysis", "technical-analysis")]

    alone = ask("and how do I optimise performance?", legacy_router, LEGACY)
    after = ask("and how do I optimise performance?", legacy_router, LEGACY, turns=before)

    assert after.best.flow == "technical-analysis"
    assert after.confidence > alone.scores["technical-analysis"]
    assert after.band == "high"
    assert any(each.kind == "session" and "continues" in each.detail for each in after.evidence)


def test_a_new_subject_leaves_the_session_behind(router: FittedRouter) -> None:
    before = [turn("my loop is slow", "technical-analysis", "technical")] * 3

    route = ask("please write a short poem about the sea for my sister's wedding tomorrow", router, turns=before)

    assert route.best.flow == "creative-orientation"


def test_older_turns_count_less_and_only_three_count(router: FittedRouter) -> None:
    turns = [turn("x", key, "technical") for key in ["document-qa", *["technical-analysis"] * 3]]

    weights = [
        each.weight for each in ask("what else is possible", router, turns=turns).evidence if each.kind == "session"
    ]

    assert len(weights) == 3
    assert sorted(weights, reverse=True) == [weights[0], weights[0] / 2, weights[0] / 4]


def test_the_profile_s_keywords_lean_the_route(router: FittedRouter) -> None:
    query = Query(question="how do we move forward with this")

    plain = choose_route(query, router, BUNDLED)
    leaning = choose_route(query, router, BUNDLED, profile_keywords=("SQL", "latency", "backend service"))

    assert leaning.scores["technical-analysis"] > plain.scores["technical-analysis"]
    assert any(each.kind == "profile" for each in leaning.evidence)


def test_two_wishes_for_two_domains_are_fanned_out(router: FittedRouter) -> None:
    route = ask("summarise the report and debug this function", router)

    assert route.decision == "fan_out"
    assert {target.domain for target in route.targets} == {"documents", "technical"}


def test_one_wish_that_names_two_subjects_stays_one(router: FittedRouter) -> None:
    assert ask("write a story about a database and a report", router).decision != "fan_out"


def test_an_unsure_question_goes_to_the_default_flow_with_the_reason(legacy_router: FittedRouter) -> None:
    route = ask("how do I cook pasta", legacy_router, LEGACY)

    assert (route.decision, route.band, route.best.flow) == ("default", "low", "creative-orientation")
    assert "default flow" in route.reason
    assert route.alternatives


def test_by_policy_an_unsure_question_is_asked_back() -> None:
    asking = LEGACY.model_copy(update={"policy": LEGACY.policy.model_copy(update={"on_low": "clarify"})})

    route = ask("how do I cook pasta", fit_router(asking), asking)

    assert route.decision == "clarify"
    assert len(route.targets) == 3


def test_by_policy_the_best_two_are_asked_when_it_is_between_them(router: FittedRouter) -> None:
    policy = BUNDLED.policy.model_copy(update={"on_medium": "best_two", "high": 1.0, "medium": 0.0})
    both = BUNDLED.model_copy(update={"policy": policy})

    route = ask("write me something on how the code is structured", router, both)

    assert route.decision == "best_two"
    assert len(route.targets) == 2
    assert route.targets[0].confidence >= route.targets[1].confidence


@pytest.mark.parametrize("task", ["synthesis_flow", "side_calls"])
def test_a_flow_with_a_task_of_its_own_is_never_chosen(task: str) -> None:
    own = flow("own", description="write a story", examples=("write a story",))
    catalog = catalog_of(CREATIVE, own, **{task: "own"})

    assert ask("write a story", fit_router(catalog), catalog).best.flow == "creative-orientation"


def test_one_flow_takes_every_question() -> None:
    catalog = catalog_of(flow("only"))

    route = ask("anything at all", fit_router(catalog), catalog)

    assert (route.best.flow, route.confidence) == ("only", 1.0)


@pytest.mark.parametrize(
    "question",
    [
        "日本語で詩を書いて",
        "Çà et là, où est le résumé?",
        "🙂",
        "؟",
        "\u200b.",
        "İstanbul'da ŞİİR yaz",
        "a" * 32_000,
        "code and poem, " * 2_000,
    ],
)
def test_any_text_gets_a_route(question: str, router: FittedRouter, legacy_router: FittedRouter) -> None:
    for fitted, catalog in ((router, BUNDLED), (legacy_router, LEGACY)):
        route = ask(question, fitted, catalog)
        assert set(route.scores) == set(catalog.routable)


def test_the_same_question_gets_the_same_route(router: FittedRouter) -> None:
    again = fit_router(BUNDLED)

    for question in ("why is my query slow", "summarise the report and write a poem", "hm"):
        assert ask(question, router) == ask(question, again)


def test_a_router_older_than_the_catalog_still_routes(router: FittedRouter) -> None:
    newer = catalog_of(CREATIVE, DOCUMENTS, flow("cooking", examples=("how do I cook pasta",)))

    route = ask("why is my postgres query so slow", router, newer)

    assert set(route.scores) == {"creative-orientation", "document-qa", "cooking"}
    assert route.best.flow in newer.routable
