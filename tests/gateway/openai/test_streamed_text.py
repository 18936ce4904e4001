"""What a stream says of an answer: all of it, once, also where the flow began again."""

from __future__ import annotations

from http_gateway.openai.streamed_text import AGAIN, StreamedText


def told(spoken: StreamedText, *texts: str) -> str:
    return "".join(map(spoken.hear, texts))


def test_an_answer_is_told_as_it_comes() -> None:
    spoken = StreamedText()

    assert told(spoken, "Hel", "lo") == "Hello"
    assert spoken.finish("Hello") == ""


def test_an_answer_without_tokens_is_told_at_the_end() -> None:
    assert StreamedText().finish("Hello") == "Hello"


def test_what_a_flow_says_again_is_told_once() -> None:
    spoken = StreamedText()
    told(spoken, "Hello ", "wor")
    spoken.begin_again()

    assert told(spoken, "Hel", "lo world", "!") == "ld!"
    assert spoken.finish("Hello world!") == ""
    assert spoken.told == "Hello world!"


def test_another_answer_after_a_failure_is_told_whole_behind_a_line() -> None:
    spoken = StreamedText()
    told(spoken, "Hello ")
    spoken.begin_again()

    assert told(spoken, "Good day", " to you") == ""
    assert spoken.finish("Good day to you") == f"{AGAIN}Good day to you"


def test_white_space_at_the_ends_makes_no_other_answer() -> None:
    spoken = StreamedText()
    told(spoken, " Hello\n")

    assert spoken.finish("Hello") == ""
