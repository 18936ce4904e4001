"""Bodies as Flowise's clients send them, recorded, and those that nobody should send."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import Query
from http_gateway.flowise.bodies import fields_of_form, is_streamed, read_prediction
from http_gateway.flowise.names import flowise_chat, is_random_chat, message_id_of, query_id_of, stored_in, stored_name

UUID = "8b625596-f749-4605-b6a7-9ab1119a5342"
PNG = f"data:image/png;base64,{base64.b64encode(b'dot').decode()}"


def query(given: dict[str, Any]) -> Query:
    return Query(**read_prediction(given).query_fields())


def test_the_widgets_message_is_a_question_in_its_chat() -> None:
    asked = query({"question": "hello widget", "chatId": UUID, "streaming": True})

    assert (asked.question, asked.session_id, asked.config, asked.metadata) == ("hello widget", UUID, {}, {})


def test_the_python_client_sends_nulls_and_a_history_of_its_own_form() -> None:
    message = {"message": "hi", "type": "userMessage", "role": None, "content": None}
    given = {"question": "x", "overrideConfig": None, "chatId": None, "history": [message], "uploads": []}

    asked = query(given)

    assert [(each.role, each.content) for each in asked.history] == [("userMessage", "hi")]
    assert uuid.UUID(asked.session_id)


def test_a_configured_session_names_the_conversation_and_is_no_configuration() -> None:
    given = {"question": "x", "chatId": "c", "overrideConfig": {"sessionId": "s", "vars": {"customer": "7"}}}

    asked, prediction = query(given), read_prediction(given)

    assert (asked.session_id, asked.config, asked.metadata) == ("s", {"vars": {"customer": "7"}}, {"chat_id": "c"})
    assert (prediction.chat, prediction.session) == ("c", "s")
    assert read_prediction({"question": "x", "overrideConfig": {"sessionId": "s"}}).chat == "s"


def test_a_form_stands_in_place_of_the_question() -> None:
    assert query({"form": {"name": "Ada"}, "chatId": "c"}).question == "name: Ada"


def test_uploads_of_every_kind() -> None:
    kept = "flywheel-upload:" + "a" * 64 + ":27"
    uploads = [
        {"type": "file", "name": "dot.png", "mime": "image/png", "data": PNG},
        {"type": "url", "name": "x.png", "data": "https://example.com/x.png"},
        {"type": "file:full", "name": "note.pdf", "mime": "application/pdf", "data": kept},
        {"type": "file:full", "name": "note.pdf", "mime": "application/pdf", "data": "the text of it"},
        {"type": "file:rag", "name": "in-the-store.pdf", "mime": "application/pdf", "data": ""},
    ]

    asked = query({"question": "", "chatId": "c", "uploads": uploads})

    assert asked.question == "(see the uploads)"
    assert [(each.name, each.size) for each in asked.uploads] == [
        ("dot.png", 3),
        ("x.png", 0),
        ("note.pdf", 27),
        ("note.pdf.txt", 14),
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "body"),
        ({"question": 7}, "question"),
        ({"question": "x", "chatId": 7}, "chatId"),
        ({"question": "x", "humanInput": {"type": "maybe"}}, "humanInput.type"),
        ({"question": "x", "uploads": [{"name": "x.png", "data": "no address"}]}, "uploads.data"),
        ({"question": "x", "uploads": [{"name": "x.png", "data": "data:image/png;base64,?"}]}, "uploads.data"),
        ({"question": "x", "uploads": [{"name": "x.exe", "data": PNG}]}, "uploads.name"),
        ({"question": "x", "uploads": [{}] * 11}, "uploads"),
        ({"question": "x", "history": [{"role": "system", "content": "y"}]}, "history"),
        ({"question": "x", "history": [{"role": "user", "content": "\x00"}]}, "history"),
    ],
)
def test_what_is_not_acceptable_is_named(given: Any, field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read_prediction(given).query_fields()

    assert refused.value.field_name == field


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidQuery):
        fields_of_form({"overrideConfig": "{"})


def test_a_form_has_json_in_its_fields() -> None:
    given = fields_of_form({"question": "x", "overrideConfig": '{"a": 1}', "history": "", "streaming": "true"})

    assert given == {"question": "x", "overrideConfig": {"a": 1}, "streaming": "true"}
    assert is_streamed(given)
    assert not is_streamed({"streaming": None})
    assert not is_streamed([])


@pytest.mark.parametrize("chat", [UUID, UUID.upper(), f"customer-7+{UUID}"])
def test_a_random_chat_can_stand_for_a_visitor(chat: str) -> None:
    assert is_random_chat(chat)


#: Of nothing, and of a time and an address.
NIL, OF_A_TIME = "00000000-0000-0000-0000-000000000000", "c232ab00-9414-11ec-b3c8-9f6bdeced846"


@pytest.mark.parametrize(
    "chat", ["", "1", "sdk-chat", f"{UUID}x", f"a b+{UUID}", f"a+b+{UUID}", f"{UUID}\n", NIL, f"a+{NIL}", OF_A_TIME]
)
def test_a_chat_that_can_be_guessed_cannot(chat: str) -> None:
    assert not is_random_chat(chat)


def test_names_lead_there_and_back() -> None:
    query_id = uuid.uuid4().hex

    assert query_id_of(message_id_of(query_id)) == query_id
    assert query_id_of("no id") is None
    assert stored_in(stored_name(query_id, "a-b.png")) == (query_id, "a-b.png")
    assert stored_in("plot.png") is None


def test_flowise_is_told_another_name_of_a_chat() -> None:
    told = flowise_chat(Asker("alice"), UUID)

    assert uuid.UUID(told)
    assert told not in (UUID, flowise_chat(Asker("bob"), UUID))
