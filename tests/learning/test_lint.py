"""What `flywheel flows lint` finds, and what it leaves alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from person.house import run_command
from routing.catalogs import BUNDLED, catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lint import LintFinding, lint
from agentic_flywheel.registry import bundled_registry, load_catalog
from agentic_flywheel.registry.document import read_document
from agentic_flywheel.registry.places import line_of
from agentic_flywheel.routing.words import words
from benchmarks.languages import FOLDER, of_file, of_folder

NARROW = dict(of_folder(FOLDER / "narrow"))

#: Three flows with six examples each: good ones, but too few and too unlike each other to find each other.
SCARCE = {
    "dentist": (
        "Szeretnék időpontot foglalni",
        "Fáj a fogam, mit tegyek?",
        "Mennyibe kerül egy tömés?",
        "Lemondanám a holnapi vizsgálatot",
        "Van ügyelet hétvégén?",
        "Gyereket is fogadnak?",
    ),
    "garden": (
        "Mikor ültessem a paradicsomot?",
        "Sárgulnak a rózsa levelei",
        "Milyen föld kell a muskátlinak?",
        "Házhoz szállítják a fákat?",
        "Hogyan metsszem a szőlőt?",
        "Mivel permetezzek levéltetű ellen?",
    ),
    "insurance": (
        "Kárt szeretnék bejelenteni",
        "Mikor jár le a szerződésem?",
        "Mennyit fizetek egy évre?",
        "Betört a szélvédő",
        "Hogyan mondhatom fel?",
        "Külföldön is érvényes?",
    ),
}
BILLING = (
    "I was charged twice this month",
    "Why is my invoice so high?",
    "I want a refund for last month",
    "Where can I download my bill?",
    "The payment was declined",
    "Can I pay by credit card?",
)
PAYMENTS = (
    "My card was charged two times",
    "The amount on my bill is wrong",
    "How do I get my money back?",
    "Send me a copy of the invoice",
    "My card payment failed",
    "Which payment methods do you accept?",
)
SHIPPING = (
    "Where is my parcel?",
    "When will the order be delivered?",
    "The courier did not come",
    "Change the delivery address",
    "The package arrived damaged",
    "Track my shipment",
)
VISIT = (
    "Does the office open on Sunday?",
    "How do I get to your shop?",
    "Is there parking nearby?",
    "What are your opening hours?",
    "Are you closed at Easter?",
    "Which bus stops at your store?",
)
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


def test_flows_that_ask_for_the_same_in_other_words_are_a_problem() -> None:
    catalog = catalog_of(
        flow("billing", examples=BILLING),
        flow("payments", examples=PAYMENTS),
        flow("shipping", examples=SHIPPING),
        flow("visit", examples=VISIT),
    )

    assert [{each.flow, each.place} for each in found(catalog, "overlap")] == [{"billing", "payments"}]


def test_few_examples_are_one_remark_and_no_overlap() -> None:
    catalog = catalog_of(*(flow(key, examples=texts) for key, texts in SCARCE.items()))

    (remark,) = lint(catalog)

    assert (remark.kind, remark.level, remark.flow) == ("few_examples", "remark", "")
    assert "too few" in remark.said


def test_few_examples_that_are_alike_in_two_flows_are_still_an_overlap() -> None:
    copies = tuple(f"{text.rstrip('?')} kérem" for text in SCARCE["garden"][:4])
    catalog = catalog_of(
        flow("dentist", examples=(*SCARCE["dentist"][:2], *copies)),
        *(flow(key, examples=SCARCE[key]) for key in ("garden", "insurance")),
    )

    assert [{each.flow, each.place} for each in found(catalog, "overlap")] == [{"dentist", "garden"}]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Θέλω να ακυρώσω την κράτηση", "ΘΕΛΩ ΝΑ ΑΚΥΡΩΣΩ ΤΗΝ ΚΡΑΤΗΣΗ"),
        ("Réserver une table à midi", "reserver  une table a midi !"),
        ("Где моя посылка", "где моя посылка?"),
    ],
)
def test_a_question_differs_by_more_than_case_accents_spaces_and_signs(text: str, other: str) -> None:
    catalog = catalog_of(flow("one", examples=(*PASSWORDS, text)), flow("two", examples=(*POEMS, other)))

    assert [each.text for each in found(catalog, "contradiction") if each.level == "problem"] == [text]


def test_a_keyword_that_differs_in_accents_alone_is_remarked_on() -> None:
    catalog = catalog_of(
        flow("login", keywords=("côte",), examples=PASSWORDS), flow("poetry", keywords=("Cote",), examples=POEMS)
    )

    shared = found(catalog, "shared_keyword")

    assert [(each.flow, each.level, each.text) for each in shared] == [
        ("login", "remark", "côte"),
        ("poetry", "remark", "Cote"),
    ]


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


def test_at_most_twenty_lines_of_a_kind_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow-registry.yaml"
    topics = "".join(f"      about {number}: [question number {number}]\n" for number in range(23))
    path.write_text(f"operational_flows:\n  login:\n    id: a\n    topics:\n{topics}")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(path))
    code, shown, _ = json.loads(run_command(["flows", "lint"], monkeypatch, capsys))
    _, listed, _ = json.loads(run_command(["flows", "lint", "--json"], monkeypatch, capsys))
    shown = " ".join(shown.split())

    assert (code, shown.count("has 1 example"), "3 more of this kind (few_examples)" in shown) == (0, 20, True)
    assert sum("has 1 example" in line for line in listed.splitlines()) == 23


def test_what_is_remarked_on_in_the_registry_is_among_the_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow-registry.yaml"
    path.write_text("operational_flows:\n  login:\n    id: a\n    descripton: Passwords\n")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(path))
    _, checked, _ = json.loads(run_command(["flows", "check", "--json"], monkeypatch, capsys))
    code, listed, _ = json.loads(run_command(["flows", "lint", "--json"], monkeypatch, capsys))

    found = [json.loads(line) for line in listed.splitlines()[1:]]
    remarks = [(each["line"], each["said"]) for each in found if each["kind"] == "registry"]
    warnings = json.loads(checked.splitlines()[0])["warnings"]
    assert code == 0
    assert remarks == [(each["line"], f"{each['key']}: {each['text']}") for each in warnings] != []


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


def good_registry(domains: dict[str, list[str]]) -> Catalog:
    """Ten examples for each domain, and as keywords the words that several of them have and no other domain's has."""
    own = {key: Counter(word for text in texts[:10] for word in set(words(text))) for key, texts in domains.items()}
    keywords = {
        key: tuple(
            word
            for word, count in counts.items()
            if count > 2 and len(word) > 3 and all(word not in theirs for other, theirs in own.items() if other != key)
        )
        for key, counts in own.items()
    }
    return catalog_of(*(flow(key, examples=tuple(own[:10]), keywords=keywords[key]) for key, own in domains.items()))


@pytest.mark.parametrize("path", sorted((FOLDER / "narrow").iterdir()), ids=lambda path: path.stem)
def test_a_good_registry_in_any_language_is_not_blamed_for_its_keywords_or_its_language(path: Path) -> None:
    findings = lint(good_registry(of_file(path)))

    assert [each.said for each in findings if each.kind in ("common_keyword", "shared_keyword", "language")] == []


@pytest.mark.parametrize(
    ("keyword", "level"), [("und", "problem"), ("ich", "problem"), ("kann", "problem"), ("Paket", None)]
)
def test_a_keyword_that_questions_for_any_flow_have_is_named(keyword: str, level: str | None) -> None:
    domains = {key: tuple(texts[:10]) for key, texts in NARROW["de"].items()}
    catalog = catalog_of(
        *(flow(key, examples=own, keywords=(keyword,) if key == "delivery" else ()) for key, own in domains.items())
    )

    common = found(catalog, "common_keyword")

    assert [(each.flow, each.level, each.text) for each in common] == ([("delivery", level, keyword)] if level else [])
    assert all("leave it out" in each.said for each in common)


def test_a_keyword_that_one_other_flow_says_more_often_is_remarked_on() -> None:
    catalog = catalog_of(flow("login", examples=PASSWORDS), flow("poetry", examples=POEMS, keywords=("password",)))

    (remark,) = found(catalog, "common_keyword")

    assert (remark.flow, remark.level) == ("poetry", "remark")
    assert "4 examples of other flows (login) and in none of its own" in remark.said


def test_a_keyword_within_another_flows_keyword_is_remarked_on() -> None:
    catalog = catalog_of(
        flow("login", keywords=("card", "gift card")), flow("billing", keywords=("credit card", "postcard"))
    )

    assert [
        (each.flow, each.text, "credit card of billing" in each.said) for each in found(catalog, "shared_keyword")
    ] == [("login", "card", True)]


def test_a_keyword_that_hides_a_character_is_a_problem_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow-registry.yaml"
    path.write_text('operational_flows:\n  login:\n    id: a\n    intent_keywords:\n      - "\\u202edrowssap"\n')
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(path))

    code, shown, _ = json.loads(run_command(["flows", "lint"], monkeypatch, capsys))

    assert code == 1
    assert f'{path}:5: login: the keyword "drowssap" has U+202E (Right-to-left override)' in " ".join(shown.split())


def test_flows_in_two_languages_of_one_script_are_told() -> None:
    catalog = catalog_of(
        *(flow(f"german-{key}", examples=tuple(NARROW["de"][key][:8])) for key in ("delivery", "hotel", "leave")),
        flow("vietnamese", examples=tuple(NARROW["vi"]["login"][:8])),
    )

    (remark,) = [each for each in found(catalog, "language") if "in common" in each.said]

    assert (remark.flow, remark.level) == ("vietnamese", "remark")
    assert "german-delivery" in remark.said
