"""A damaged registry improves by what people said; a good one is not made worse; and people decide the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from routing.catalogs import catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.learning.changes import EXAMPLES, KEYWORDS, TextChange, changed
from agentic_flywheel.learning.labels import labels_of
from agentic_flywheel.learning.proposals import changes_of
from agentic_flywheel.learning.study import Study, registry_changes, study
from agentic_flywheel.registry import load_catalog, update_flows
from learning.shop import WAYS, accuracy, lesson, questions, ratings, shop

ASKED, HELD_BACK = 200, 100
KINDS = ("yoga", "pottery", "judo", "ballet")


def damaged(catalog: Catalog) -> Catalog:
    """Return the shop's catalog with a topic in the wrong flow, another one gone, and keywords that mislead."""
    care, invoices = catalog.flows["repairs"].topics["care"], catalog.flows["accounts"].topics["invoices"]
    return changed(
        catalog,
        [
            TextChange(flow="repairs", place="care", drop=care),
            TextChange(flow="orders", place="delivery", add=care[:3]),
            TextChange(flow="accounts", place="invoices", drop=invoices[2:]),
            TextChange(flow="orders", place=KEYWORDS, add=("wash", "invoice")),
        ],
    )


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, str]]:
    return questions(ASKED + HELD_BACK, seed=5)


@pytest.fixture(scope="module")
def bad() -> Catalog:
    return damaged(shop())


@pytest.fixture(scope="module")
def learned(bad: Catalog, asked: list[tuple[str, str]]) -> Study:
    return study(bad, ratings(bad, asked[:ASKED]))


def test_two_hundred_scores_mend_a_damaged_registry(bad: Catalog, learned: Study, asked: list[tuple[str, str]]) -> None:
    mended = changed(bad, changes_of(learned.chosen))

    before, after = accuracy(bad, asked[ASKED:]), accuracy(mended, asked[ASKED:])

    # What is fanned out to several domains is not judged.
    assert learned.labelled >= ASKED * 0.98
    assert after >= before + 0.1
    assert learned.effect.after.on_labels >= learned.effect.before.on_labels + 0.1


def test_nothing_is_chosen_that_lowers_either_measure(learned: Study) -> None:
    assert learned.chosen
    judged, left_out = learned.effect.gain
    assert judged > 0
    assert left_out >= 0


def test_every_proposal_tells_what_it_rests_on_and_what_it_does(learned: Study) -> None:
    kinds = {proposal.kind for proposal in learned.proposals}

    assert {"add_examples", "drop_keyword"} <= kinds
    for proposal in learned.proposals:
        assert proposal.questions
        assert proposal.why
        assert proposal.effect.before.labelled == learned.labelled


def test_a_misleading_keyword_is_found(learned: Study) -> None:
    assert {("orders", "wash"), ("orders", "invoice")} == {
        (each.flow, each.subject) for each in learned.proposals if each.kind == "drop_keyword"
    }


def test_a_good_registry_is_not_made_worse(asked: list[tuple[str, str]]) -> None:
    good = shop()
    found = study(good, ratings(good, asked[:ASKED]))

    after = changed(good, changes_of(found.chosen))

    assert min(found.effect.gain) >= 0
    assert accuracy(after, asked[ASKED:]) >= accuracy(good, asked[ASKED:])


def test_false_praise_that_would_make_a_good_registry_worse_is_refused(asked: list[tuple[str, str]]) -> None:
    """People praise three of a kind in the wrong flow; everybody else's questions outweigh them."""
    good = shop()
    honest = ratings(good, asked[:60])
    ways = WAYS["orders"]["returns"]
    false = [lesson(ways[0].format(thing), ("accounts",), number=900 + at, good=True) for at, thing in enumerate("xyz")]

    found = study(good, [*honest, *false])

    assert min(found.effect.gain) >= 0
    assert accuracy(changed(good, changes_of(found.chosen)), asked[60:]) >= accuracy(good, asked[60:]) - 0.01


def test_what_was_learned_is_written_with_comments_and_order_kept(bad: Catalog, learned: Study, tmp_path: Path) -> None:
    path = tmp_path / "flow-registry.yaml"
    path.write_text(_as_yaml(bad), encoding="utf-8")
    catalog = load_catalog(path)

    update_flows(path, registry_changes(learned, catalog), cwd=tmp_path, revision=catalog.revision)

    text = path.read_text(encoding="utf-8")
    written = load_catalog(path)
    assert text.startswith("# The shop.\n")
    assert (
        text.index("orders:") < text.index("repairs:") < text.index("# Passwords and bills.") < text.index("accounts:")
    )
    expected = changed(catalog, changes_of(learned.chosen))
    assert {key: flow.topics for key, flow in written.flows.items()} == {
        key: flow.topics for key, flow in expected.flows.items()
    }
    assert [flow.keywords for flow in written.flows.values()] == [flow.keywords for flow in expected.flows.values()]


def test_what_was_derived_from_another_registry_is_not_written(bad: Catalog, learned: Study, tmp_path: Path) -> None:
    path = tmp_path / "flow-registry.yaml"
    path.write_text(_as_yaml(shop()), encoding="utf-8")
    before = path.read_bytes()

    with pytest.raises(InvalidRegistry, match="meanwhile"):
        update_flows(path, registry_changes(learned, bad), cwd=tmp_path, revision=bad.revision)

    assert path.read_bytes() == before


def test_questions_that_fit_nowhere_and_are_alike_want_a_flow() -> None:
    courses = [f"which {kind} course for {people} starts in May" for kind in KINDS for people in ("us", "kids")]
    lessons = [lesson(text, ("small-talk",), number=at, unrouted=True) for at, text in enumerate([*courses, "zzz qqq"])]

    (found,) = study(shop(), lessons).new_flows

    assert set(found.questions) <= set(courses)
    assert found.size >= len(courses) / 2
    assert "course" in found.key
    assert found.found > 0.5


def test_a_question_that_somebody_knew_a_flow_for_is_no_longer_unrouted() -> None:
    courses = [f"which course number {number} starts in May" for number in range(6)]
    lessons = [lesson(text, ("small-talk",), number=at, unrouted=True) for at, text in enumerate(courses)]
    lessons += [lesson(text, ("small-talk",), number=10 + at, right="orders") for at, text in enumerate(courses)]

    found = study(shop(), lessons)

    assert found.new_flows == ()
    assert found.unrouted == 0


def test_flows_that_are_taken_for_each_other_overlap() -> None:
    alike = ("how do I reset my password", "my password expired", "change the password", "forgot the password again")
    catalog = catalog_of(
        flow("login", examples=alike),
        flow("helpdesk", examples=tuple(f"{text} please" for text in alike)),
        flow("poetry", examples=("write a sonnet", "a haiku about snow", "rhyme with orange", "compose an ode")),
    )

    (found,) = study(catalog, []).overlaps

    assert found.flows == ("helpdesk", "login")
    assert found.confused >= 3


def test_a_secret_never_becomes_an_example() -> None:
    catalog = shop()
    told = [
        lesson(text, ("small-talk",), number=at, right="accounts")
        for at, text in enumerate(
            (
                "why is password: hunter2secret refused",
                "write to jane@example.org about her account",
                "the badge is not recognised at the door",
            )
        )
    ]

    added = [text for draft in study(catalog, told).proposals for change in draft.changes for text in change.add]

    assert "the badge is not recognised at the door" in added
    assert not any("hunter2" in text or "jane" in text for text in added)


def test_the_latest_word_counts_and_a_named_flow_outweighs_a_rating() -> None:
    catalog = shop()

    def label(*told: tuple[str | None, bool | None, str]) -> tuple[str | None, set[str]]:
        lessons = [
            lesson("Where is it?" if at % 2 else "where  is it?", (went,), number=at, right=right, good=good)
            for at, (right, good, went) in enumerate(told)
        ]
        (found,) = labels_of(lessons, catalog)
        return found.right, set(found.wrong)

    assert label((None, True, "orders")) == ("orders", set())
    assert label((None, True, "orders"), (None, False, "orders")) == (None, {"orders"})
    assert label((None, False, "repairs"), (None, True, "repairs")) == ("repairs", set())
    assert label(("orders", None, "repairs"), (None, True, "repairs")) == ("orders", {"repairs"})
    assert label((None, False, "repairs"), (None, False, "accounts"), (None, False, "small-talk")) == (
        "orders",
        {"repairs", "accounts", "small-talk"},
    )


def test_what_says_nothing_of_one_flow_is_no_label() -> None:
    catalog = shop()
    follow_up = lesson("and what about it?", ("orders",), good=True, in_session=True)
    of_two_flows = lesson("where is it and who mends it", ("orders", "repairs"), good=True)
    of_a_flow_that_left = lesson("sing", ("choir",), good=True)
    lukewarm = lesson("where is it", ("orders",))

    assert labels_of([follow_up, of_two_flows, of_a_flow_that_left, lukewarm], catalog) == []


def test_a_change_that_is_made_twice_is_made_once() -> None:
    catalog = shop()
    change = TextChange(flow="orders", place=EXAMPLES, add=("where is it",))

    once = changed(catalog, [change])

    assert changed(once, [change]) == once
    assert (
        changed(once, [TextChange(flow="orders", place=EXAMPLES, drop=("where is it",))]).revision == catalog.revision
    )


def _as_yaml(catalog: Catalog) -> str:
    lines = ["# The shop.", "operational_flows:"]
    for key, each in catalog.flows.items():
        lines += ["  # Passwords and bills."] if key == "accounts" else []
        lines += [f"  {key}:", f"    id: {each.id}", f"    domain: {each.domain}"]
        if each.keywords:
            lines += ["    intent_keywords:", *(f"      - {word}" for word in each.keywords)]
        if each.examples:
            lines += ["    examples:", *(f"      - {text}" for text in each.examples)]
        if each.topics:
            lines.append("    topics:")
            for topic, texts in each.topics.items():
                lines += [f"      {topic}:", *(f'        - "{text}"  # asked' for text in texts)]
    return "\n".join([*lines, "intent_classification:", "  fallback_flow: small-talk", ""])
