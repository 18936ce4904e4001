from __future__ import annotations

import pytest

from agentic_flywheel.routing.features import WordIndex, grams
from agentic_flywheel.routing.rarity import rarity_of
from agentic_flywheel.routing.words import words

TEXTS = ("a pdf file", "the pdf of the pdf", "other words here")


@pytest.mark.parametrize("text", [*TEXTS, "pdf " * 300, "the " * 40 + "pdf", "nothing known", ""])
def test_likeness_is_a_cosine_however_often_a_word_is_said(text: str) -> None:
    found = WordIndex.of([words(text) for text in TEXTS]).similarity(words(text))

    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def test_a_text_is_like_itself_entirely() -> None:
    index = WordIndex.of([words(text) for text in TEXTS])

    assert [float(index.similarity(words(text)).max()) for text in TEXTS] == pytest.approx([1, 1, 1])


#: Two forms of one word, and another word that begins alike: what they share as letters tells them apart.
@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (("배송을 보내요", "배우가 춤춰요"), "보낼게"),
        (("Jahresurlaub", "Jahreszahl"), "Resturlaub"),
        (("faturayı", "fare"), "faturamdan"),
    ],
)
def test_forms_of_a_word_are_alike_by_the_letters_that_they_share(known: tuple[str, str], asked: str) -> None:
    said = [words(text) for text in known]
    index = WordIndex.of(said, rarity=rarity_of((grams(each, parts=True), at) for at, each in enumerate(said)))

    same, other = index.similarity(words(asked))

    assert same > 0.15 > other


def test_what_every_intent_says_counts_less_than_what_one_says_often() -> None:
    texts = ("bitte schicken", "bitte rechnung", "rechnung bezahlen", "rechnung falsch", "bitte urlaub")
    intents = (0, 1, 1, 1, 2)
    said = [words(text) for text in texts]

    index = WordIndex.of(
        said, rarity=rarity_of((grams(each, parts=True), at) for each, at in zip(said, intents, strict=True))
    )

    assert index.rarity["rechnung"] > index.rarity["bitte"]
