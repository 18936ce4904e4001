"""What a stream says of an answer: all of it, once, also where the flow began again."""

from __future__ import annotations

from http_gateway.openai.telling import AGAIN, Telling


def told(telling: Telling, *texts: str) -> str:
    return "".join(map(telling.hear, texts))


def test_an_answer_is_told_as_it_comes() -> None:
    telling = Telling()

    assert told(telling, "Hel", "lo") == "Hello"
    assert telling.finish("Hello") == ""


def test_an_answer_without_tokens_is_told_at_the_end() -> None:
    assert Telling().finish("Hello") == "Hello"


def test_what_a_flow_says_again_is_told_once() -> None:
    telling = Telling()
    told(telling, "Hello ", "wor")
    telling.begin_again()

    assert told(telling, "Hel", "lo world", "!") == "ld!"
    assert telling.finish("Hello world!") == ""
    assert telling.told == "Hello world!"


def test_another_answer_after_a_failure_is_told_whole_behind_a_line() -> None:
    telling = Telling()
    told(telling, "Hello ")
    telling.begin_again()

    assert told(telling, "Good day", " to you") == ""
    assert telling.finish("Good day to you") == f"{AGAIN}Good day to you"


def test_white_space_at_the_ends_makes_no_other_answer() -> None:
    telling = Telling()
    told(telling, " Hello\n")

    assert telling.finish("Hello") == ""
