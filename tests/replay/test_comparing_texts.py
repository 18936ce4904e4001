"""Word diffs and similarities: what a person reads of two answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from producer.replay.similarity import normalised, similarity
from producer.replay.worddiff import Segment, word_diff

texts = st.text(st.sampled_from("ab. \n,é漢字\u202e\x00"), max_size=60)


@given(texts, texts)
@settings(max_examples=200, deadline=None)
def test_a_diff_holds_both_texts_to_the_character(before: str, after: str) -> None:
    segments = word_diff(before, after)

    assert "".join(each.text for each in segments if each.kind != "+") == before
    assert "".join(each.text for each in segments if each.kind != "-") == after
    assert all(each.text for each in segments)


def test_one_word_changed_is_one_word_in_the_diff() -> None:
    assert word_diff("the broker must be up", "the broker should be up") == [
        Segment("=", "the broker "),
        Segment("-", "must "),
        Segment("+", "should "),
        Segment("=", "be up"),
    ]


def test_a_word_that_stays_by_chance_does_not_tear_a_change_apart() -> None:
    segments = word_diff(
        "We sailed slowly along the northern coastline yesterday", "Budgets grew quickly in the second quarter again"
    )

    assert [each.kind for each in segments] == ["-", "+"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert Segment("=", "東京") in word_diff("東京へ行く", "東京に住む")


def test_a_megabyte_of_text_is_still_compared_whole() -> None:
    before, after = "lorem ipsum " * 90_000, "ipsum dolor " * 90_000

    segments = word_diff(before, after)

    assert "".join(each.text for each in segments if each.kind != "+") == before
    assert len(segments) < 20_000


def test_case_spaces_quotes_and_the_last_stop_are_no_change() -> None:
    assert normalised("  Yes,\n it “works”. ") == normalised('yes, it "works"')
    assert normalised("yes") != normalised("no")


def test_alike_means_alike_in_meaning() -> None:
    asked = "Restart the worker and check that the broker answers."
    alike = "Start the worker again, then make sure the broker can be reached."
    other = "Imagine a quiet lake in the morning and write down what you see."

    assert similarity(asked, asked.upper()) == 1.0
    assert similarity(asked, alike) > 0.45 > similarity(asked, other)
    assert similarity(asked, "") == 0.0
    assert similarity("", "") == 1.0
