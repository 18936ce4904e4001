"""What `flywheel flows lint` finds, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

from routing.catalogs import BUNDLED, catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lint import LintFinding, lint
from agentic_flywheel.registry import bundled_registry, load_catalog
from agentic_flywheel.registry.document import read_document
from agentic_flywheel.registry.places import line_of

PASSWORDS = ("how do I reset my password", "my password expired", "change the password", "forgot the password again")
POEMS = ("write a sonnet", "a haiku about snow", "a rhyme with orange", "compose an ode to the sea")


def found(catalog: Catalog, kind: str) -> list[LintFinding]:
    return [each for each in lint(catalog) if each.kind == kind]


def test_the_bundled_registry_has_no_problem() -> None:
    findings = lint(load_catalog(bundled_registry()))

    assert [each for each in findings if each.level == "problem"] == []


def test_flows_whose_examples_cannot_be_told_apart_are_a_problem() -> None:
    catalog = catalog_of(
        flow("login", examples=PASSWORDS),
        flow("helpdesk", examples=tuple(f"{text} please" for text in PASSWORDS)),
        flow("poetry", examples=POEMS),
    )

    (overlap,) = found(catalog, "overlap")

    assert (overlap.level, {overlap.flow, overlap.place}) == ("problem", {"login", "helpdesk"})


def test_one_question_in_two_flows_is_a_contradiction() -> None:
    catalog = catalog_of(
        flow("login", examples=PASSWORDS), flow("poetry", topics={"verse": (*POEMS, "Change  the password")})
    )

    problems = [each for each in found(catalog, "contradiction") if each.level == "problem"]

    assert [(each.flow, each.text) for each in problems] == [("login", "change the password")]
    assert "poetry" in problems[0].said


def test_an_example_that_all_others_put_elsewhere_is_remarked_on() -> None:
    catalog = catalog_of(
        flow("login", examples=PASSWORDS),
        flow("poetry", examples=(*POEMS, "I forgot the password, how do I reset my password")),
    )

    (remark,) = [each for each in lint(catalog) if each.text.startswith("I forgot")]

    assert (remark.level, remark.flow) == ("remark", "poetry")
    assert "login" in remark.said


def test_a_topic_with_few_examples_and_a_flow_with_none_are_remarked_on() -> None:
    catalog = catalog_of(
        flow("login", topics={"reset": PASSWORDS, "expiry": ("it expired",)}), flow("poetry", keywords=("poem",))
    )

    assert [(each.flow, each.place) for each in found(catalog, "few_examples")] == [
        ("login", "expiry"),
        ("poetry", ""),
    ]


def test_keywords_that_cannot_decide_are_found() -> None:
    catalog = catalog_of(
        flow("login", keywords=("password", "++", "note"), examples=PASSWORDS),
        flow("poetry", keywords=("Note", "verse"), examples=POEMS),
    )

    shared = found(catalog, "shared_keyword")
    idle = {(each.flow, each.level): each.text for each in found(catalog, "idle_keyword")}

    assert [(each.flow, each.text) for each in shared] == [("login", "note"), ("poetry", "Note")]
    assert idle["login", "problem"] == "++"
    assert "password" in idle["login", "remark"]


def test_a_keyword_that_turns_an_example_is_not_idle() -> None:
    stray = "an ode to my password"
    catalog = catalog_of(
        flow("login", keywords=("ledger",), examples=(*PASSWORDS, f"{stray} and a ledger")),
        flow("poetry", examples=POEMS),
    )

    assert not any("ledger" in each.text for each in found(catalog, "idle_keyword"))


def test_a_finding_leads_to_its_line(tmp_path: Path) -> None:
    path = tmp_path / "flow-registry.yaml"
    path.write_text(
        "archived_flows:\n  login: {id: old}\noperational_flows:\n  login:\n    id: a\n    intent_keywords:\n"
        "      - password\n    topics:\n      reset:\n        # the usual\n        - how do I reset it\n"
    )
    document = read_document(path)

    assert line_of(document, "login") == 4
    assert line_of(document, "login", ("intent_keywords",), "password") == 7
    assert line_of(document, "login", ("topics", "reset"), "how do I reset it") == 11
    assert line_of(document, "login", ("topics", "reset"), "not there") == 9
    assert line_of(document, "nowhere") == 1


def test_what_is_well_described_is_left_alone() -> None:
    assert {each.kind for each in lint(BUNDLED) if each.level == "problem"} == set()


GERMAN = ("Wo bleibt mein Paket?", "Wann wird die Bestellung verschickt", "Das Paket ist nicht angekommen")
CHINESE = ("我的包裹到哪里了", "什么时候发货", "快递单号是多少", "送货地址可以改吗", "包裹丢了怎么办", "今天能送到吗")


def test_a_flow_in_another_script_than_all_others_is_named() -> None:
    catalog = catalog_of(
        flow("login", examples=PASSWORDS), flow("poetry", examples=POEMS), flow("parcels", examples=CHINESE)
    )

    (finding,) = [each for each in found(catalog, "language") if "script" in each.said]

    assert (finding.flow, finding.level) == ("parcels", "remark")


def test_a_registry_in_two_languages_is_told_what_that_costs() -> None:
    catalog = catalog_of(flow("login", examples=PASSWORDS), flow("parcels", examples=GERMAN * 2))

    assert any(each.flow == "parcels" and "login" in each.said for each in found(catalog, "language"))


def test_few_examples_are_fewer_in_another_language_than_english() -> None:
    german = catalog_of(flow("parcels", examples=GERMAN), flow("login", examples=("Passwort vergessen", *GERMAN)))

    assert [each.flow for each in found(german, "language") if "needed" in each.said] == ["parcels", "login"]
    assert found(catalog_of(flow("login", examples=PASSWORDS), flow("poetry", examples=POEMS)), "language") == []


def test_a_script_that_routing_knows_nothing_of_is_a_problem() -> None:
    cherokee = ("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᎣᏏᏲ ᏙᎯᏧ", "ᏩᏙ ᎠᏂᏣᎳᎩ", "ᎠᏯ ᏓᏆᏙᎠ", "ᎭᏩ ᎣᏏ", "ᏙᎾᏓᎪᎲᎢ ᎣᎯᏍᏗ")
    catalog = catalog_of(flow("one", examples=cherokee), flow("two", examples=CHINESE))

    assert next((each.flow, each.level) for each in found(catalog, "language")) == ("one", "problem")


def test_a_keyword_of_one_character_is_named() -> None:
    catalog = catalog_of(flow("parcels", examples=CHINESE, keywords=("货",)), flow("shop", examples=CHINESE[:1] * 6))

    assert [each.text for each in found(catalog, "language") if each.text] == ["货"]
