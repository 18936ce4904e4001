"""Other languages than English, on the questions of the benchmark that routing was developed with."""

from __future__ import annotations

import pytest

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
