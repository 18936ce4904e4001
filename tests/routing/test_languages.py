"""Other languages than English, on the questions of the benchmark that routing was developed with."""

from __future__ import annotations

import pytest

from agentic_flywheel.routing.encoder import static_encoder
from agentic_flywheel.routing.spelling import Speller
from benchmarks import languages

NARROW = dict(languages.of_folder(languages.FOLDER / "narrow"))
#: Their domain "technical" is one that the narrow sets do not have.
BROAD = dict(languages.of_folder(languages.FOLDER / "broad"))


@pytest.mark.parametrize("language", NARROW)
def test_six_examples_of_a_domain_are_enough_in_each_language(language: str) -> None:
    figures = languages.measure(NARROW[language], BROAD[language]["technical"][:10], shots=6, seeds=8, held_back=False)

    assert figures["accuracy"] >= 0.765
    assert figures["ece"] <= 0.12
    # What is told as sure is right, and hardly ever a question that no domain is for.
    assert figures["high_right"] >= 0.92
    assert figures["foreign_high"] <= 0.15


def test_a_word_that_nobody_knows_gets_the_accents_that_were_not_typed() -> None:
    for catalog, typed, meant in (
        ("számla eredmény időpont könyv", "nem latom az eredmenyet", "nem latom az eredményet"),
        ("sipariş ödeme ücret çok ılık", "odemeleri hizlandirir internet", "ödemeleri hızlandırır internet"),
        ("gebühr zurück können", "zurucksetzen zahlen paket", "zurücksetzen zahlen paket"),
        # With an accent somewhere, letters without one are meant; and another language has no accents of the catalog's.
        ("sipariş ödeme ücret", "odemeleri ücreti", "odemeleri ücreti"),
        ("fatura paket", "odemeleri hizlandirir", "odemeleri hizlandirir"),
    ):
        speller = Speller(dict.fromkeys(catalog.split(), 1.0), static_encoder([catalog]))

        assert speller.accented(typed.split(), typed) == meant.split()


def test_an_english_registry_with_a_foreign_word_loads_no_other_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_flywheel.routing.spelling.pieces_of_languages", None)
    speller = Speller({"café": 1.0, "order": 1.0}, static_encoder(["where is my order"]))

    assert speller.accented(["cafe", "ordar", "eredmenyet"], "cafe ordar eredmenyet") == ["café", "ordar", "eredmenyet"]
