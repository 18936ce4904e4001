"""Questions that stand elsewhere in an object than under `question`; objects that have none, told once for a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from replay.reading import Found, of_file

ASKED = {"question": "How do I do it?"}
#: Objects as other programs write them, each with this question.
WITHIN: tuple[Any, ...] = (
    {"Question": "How do I do it?", "ID": "7"},
    {"id": "7", "inputs": ASKED, "outputs": {"answer": "So"}},
    {"inputs": {"messages": [{"type": "human", "content": "How do I do it?"}]}, "outputs": {}},
    {"inputs": {"messages": [{"lc": 1, "kwargs": {"type": "human", "content": "How do I do it?"}}]}, "outputs": {}},
    {"_index": "q", "_source": ASKED},
    {"vars": ASKED, "assert": [{"type": "equals"}]},
    {"took": 3, "hits": {"total": {"value": 1}, "hits": [{"_id": "1", "_source": ASKED}]}},
    {"data": {"questions": {"edges": [{"node": ASKED}]}}},
    {"questions": [ASKED], "users": [{"name": "Ann"}]},
    {"questions": ["How do I do it?"]},
    {
        "prompt": [{"role": "user", "content": "How do I do it?"}],
        "completion": [{"role": "assistant", "content": "So"}],
    },
    {
        "chosen": [{"role": "user", "content": "How do I do it?"}, {"role": "assistant", "content": "So"}],
        "rejected": [],
    },
    [["id", "question"], ["1", "How do I do it?"]],
    {"values": [["id", "question"], ["1", "How do I do it?"]]},
    {"fields": [{"name": "id"}, {"name": "question"}], "rows": [["1", "How do I do it?"]]},
    {"messages": [{"role": "Customer", "content": "How do I do it?"}, {"role": "AGENT", "content": "So"}]},
    {"version": "2", "data": [{"title": "T", "paragraphs": [{"context": "C", "qas": [ASKED]}]}]},
)
#: Objects without a question, and what is said of a file of them.
WITHOUT: tuple[tuple[Any, str], ...] = (
    ({"type": "message", "user": "U1", "text": "Hi", "ts": "1.1"}, "a chat of Slack's, which does not say who asks"),
    ({"name": "A", "messages": [{"from": "Ann", "from_id": "u1", "text": "Hi"}]}, "a chat of Telegram's"),
    ({"key": "P-1", "fields": {"summary": "I cannot log in"}}, "no 'question' but key, fields, fields.summary; name"),
    ({"id": "1", "data": ["How?", "So", "And?", "Thus"]}, "no 'question' but id, data"),
    ({"input": "How?", "actual_output": "So", "expected_output": "So"}, "no 'question' but input, actual_output"),
    ({"question": {"text": "How?"}}, "question: it should be a text"),
)


def lines(tmp_path: Path, *values: Any, column: str = "") -> Found:
    return of_file(tmp_path / "q.jsonl", "\n".join(map(json.dumps, values)), column=column)


def test_a_question_is_found_where_other_programs_write_it(tmp_path: Path) -> None:
    for value in WITHIN:
        read = lines(tmp_path, value)

        assert ([each.question for each in read.items], read.problems) == (["How do I do it?"], []), value


def test_what_stands_beside_such_a_question_is_kept(tmp_path: Path) -> None:
    named, example, *_, squad = (item for value in WITHIN for item in lines(tmp_path, value).items)

    assert (named.id, example.id, example.expected, squad.context) == ("7", "7", "So", "C")


def test_a_file_without_a_question_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for value, reason in WITHOUT:
        with pytest.raises(
            ValueError, match=r"none of its 30 entries can be asked; of the first, in line 1: "
        ) as refused:
            lines(tmp_path, *[value] * 30)
        assert reason in str(refused.value)
    with pytest.raises(ValueError, match="none of its first 1,000 entries"):
        lines(tmp_path, *[WITHOUT[0][0]] * 1_100)


def test_objects_without_a_question_cost_no_other_row(tmp_path: Path) -> None:
    read = lines(tmp_path, *[WITHOUT[0][0]] * 30, ASKED, WITHOUT[0][0])

    assert ([each.number for each in read.items], len(read.problems)) == ([31], 31)


def test_a_person_may_say_where_in_an_object_the_question_is(tmp_path: Path) -> None:
    for value, column in (
        ({"fields": {"summary": "How do I do it?"}}, "fields.summary"),
        ({"attributes": {"input.value": "How do I do it?"}, "context": {"span": "1"}}, "attributes.input.value"),
        ({"input.value": "How do I do it?"}, "input.value"),
        ({"name": "A", "messages": [{"from": "Ann", "from_id": "u1", "text": "How do I do it?"}]}, "text"),
    ):
        assert [each.question for each in lines(tmp_path, value, column=column).items] == ["How do I do it?"]


def test_a_history_may_be_messages_or_pairs_and_metadata_anything(tmp_path: Path) -> None:
    said = ({"role": "userMessage", "content": "Hi"}, {"role": "apiMessage", "content": "Hello"})
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

    for history in (messages, [["Hi", "Hello"]], list(said)):
        (item,) = lines(tmp_path, {**ASKED, "history": history, "metadata": "faq"}).items
        assert (tuple(each.model_dump() for each in item.history), item.metadata) == (said, {"metadata": "faq"})


def test_a_context_of_several_texts_is_one_and_any_other_costs_no_row(tmp_path: Path) -> None:
    first, second = lines(tmp_path, {**ASKED, "context": ["One.", "Two."]}, {**ASKED, "context": {"page": 1}}).items

    assert (first.context, second.context, second.metadata) == ("One.\n\nTwo.", None, {"_context": {"page": 1}})
