from __future__ import annotations

import pytest

from agentic_flywheel.routing.features import WordIndex
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
