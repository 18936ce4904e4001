"""What becomes of the body of a chat completion: a question with its history, or a refusal that names the parameter."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agentic_flywheel.errors import ContextTooLong, FlywheelError, InvalidQuery, UnsupportedParameter
from agentic_flywheel.given import MAX_CONTEXT, MAX_QUESTION, WITHOUT_WORDS
from agentic_flywheel.models import Message
from http_gateway.openai.requests import ChatRequest, read_request

PIXEL = base64.b64encode(b"\x89PNG pixel").decode()
HELLO = [{"role": "user", "content": "Hello"}]


def read(messages: Any = HELLO, **more: Any) -> ChatRequest:
    return read_request(json.dumps({"model": "auto", "messages": messages, **more}).encode())


def test_the_last_message_is_the_question_and_those_before_it_its_history() -> None:
    told = read(
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Who wrote Emma?"},
            {"role": "assistant", "content": "Jane Austen."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "Persuasion?"}]},
        ]
    ).conversation

    assert told.question == "And\nPersuasion?"
    assert told.context == "Be short.\n\nBe kind."
    assert told.history == (
        Message(role="userMessage", content="Who wrote Emma?"),
        Message(role="apiMessage", content="Jane Austen."),
    )


def test_images_of_the_question_are_uploads_and_earlier_ones_leave_a_mark() -> None:
    def image(url: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}

    told = read(
        [
            {"role": "user", "content": [{"type": "text", "text": "A cat?"}, image("https://x.example/cat.png")]},
            {"role": "assistant", "content": "A cat."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And these?"},
                    image(f"data:image/png;base64,{PIXEL}"),
                    image("https://x.example/dog.jpg"),
                ],
            },
        ]
    ).conversation

    assert told.history[0].content == "A cat?\n[image]"
    assert [(each.name, each.size, each.url) for each in told.uploads] == [
        ("image-1.png", 10, None),
        ("dog.jpg", 0, "https://x.example/dog.jpg"),
    ]
    assert told.uploads[0].source == b"\x89PNG pixel"


def test_null_is_as_good_as_leaving_a_parameter_out() -> None:
    names = ["n", "tools", "response_format", "stop", "stream", "stream_options", "user", "temperature", "anything"]

    asked = read(**dict.fromkeys(names))

    assert (asked.stream, asked.include_usage, asked.user) == (False, False, None)


def test_hints_are_taken() -> None:
    asked = read(temperature=0.2, max_tokens=1024, top_p=1, seed=7, user="ada", reasoning_effort="low", store=True)

    assert asked.user == "ada"


@pytest.mark.parametrize(
    ("name", "harmless", "harmful"),
    [
        ("n", 1, 2),
        ("tools", [], [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "auto", "required"),
        ("functions", [], [{"name": "f"}]),
        ("function_call", "none", {"name": "f"}),
        ("response_format", {"type": "text"}, {"type": "json_object"}),
        ("logprobs", False, True),
        ("top_logprobs", 0, 5),
        ("logit_bias", {}, {"50256": -100}),
        ("stop", [], "END"),
        ("modalities", ["text"], ["text", "audio"]),
        ("audio", {}, {"voice": "alloy"}),
    ],
)
def test_what_would_change_the_meaning_of_the_answer_is_refused_by_name(name: str, harmless: Any, harmful: Any) -> None:
    read(**{name: harmless})

    with pytest.raises(UnsupportedParameter) as refused:
        read(**{name: harmful})

    assert refused.value.parameter == name


@pytest.mark.parametrize("name", ["web_search_options", "colour"])
def test_what_nobody_knows_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        read(**{name: {}})

    assert refused.value.parameter == name


def test_the_usage_is_sent_with_a_stream_that_asks_for_it() -> None:
    asked = {"include_usage": True}

    assert read(stream=True, stream_options=asked).include_usage
    assert not read(stream=False, stream_options=asked).include_usage
    assert not read(stream=True).include_usage


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        (None, "messages"),
        ([{"role": "system", "content": "Be short."}], "messages"),
        ([*HELLO, {"role": "assistant", "content": "Hello"}], "messages"),
        ([{"role": "tool", "content": "4"}, *HELLO], "messages.0.role"),
        ([{"role": "user", "content": " \n"}], "messages.0.content"),
        ([{"role": "user", "content": None}], "messages.0.content"),
        ([{"role": "user", "content": 7}], "messages.0.content"),
        ([{"role": "user", "content": "a\u0000b"}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "messages.0.content.0"),
    ],
)
def test_messages_that_hold_no_question_are_refused_where_they_are_wrong(messages: Any, field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read(messages)

    assert refused.value.field_name == field


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example/cat.png",
        "data:image/png;base64,%%%",
        "data:image/png;base64,",
        "data:text/html;base64,PGI+",
        "data:image/x-icon;base64,AAAA",
        "data:,plain",
        "ftp://x.example/cat.png",
        "https://x.example/no-ending",
        "https://me:secret@x.example/cat.png",
        "file:///etc/passwd.png",
    ],
)
def test_an_image_that_cannot_go_with_a_question_is_refused(url: str) -> None:
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]

    with pytest.raises(InvalidQuery) as refused:
        read([{"role": "user", "content": content}])

    assert "secret" not in refused.value.message


def test_an_image_may_be_sent_without_words_and_white_space_alone_is_refused() -> None:
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": "https://x.example/cat.png"}}]

    told = read([{"role": "user", "content": content}]).conversation

    assert (told.question, len(told.uploads)) == (WITHOUT_WORDS, 1)
    with pytest.raises(InvalidQuery, match="white space"):
        read([{"role": "user", "content": " "}])


def test_an_image_in_a_system_message_is_refused() -> None:
    content = [{"type": "image_url", "image_url": {"url": "https://x.example/cat.png"}}]

    with pytest.raises(InvalidQuery) as refused:
        read([{"role": "system", "content": content}, *HELLO])

    assert refused.value.field_name == "messages.0.content"


def test_calls_of_tools_in_the_history_are_refused() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}

    with pytest.raises(UnsupportedParameter) as refused:
        read([*HELLO, called, *HELLO])

    assert refused.value.parameter == "messages.1.tool_calls"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "é" * (MAX_QUESTION + 1)}],
        [{"role": "system", "content": "x" * MAX_QUESTION}, *HELLO],
        [*({"role": "user", "content": "é" * 1000} for _ in range(120)), *HELLO],
    ],
)
def test_a_conversation_that_is_too_long_is_refused_and_not_cut(messages: Any) -> None:
    with pytest.raises(ContextTooLong):
        read(messages)


def test_a_system_message_that_is_too_long_for_a_context_stands_in_front_of_the_question() -> None:
    told = read([{"role": "system", "content": "x" * (MAX_CONTEXT + 1)}, *HELLO]).conversation

    assert told.question == "x" * (MAX_CONTEXT + 1) + "\n\nHello"
    assert told.context is None


def test_a_long_conversation_within_the_bounds_is_taken_whole() -> None:
    said = [{"role": "user" if n % 2 else "assistant", "content": f"{n} " + "x" * 700} for n in range(250)]

    assert len(read([*said, *HELLO]).conversation.history) == 250


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"7", b'{"model": NaN}', b"\xff", b"[" * 100_000, b'{"model": "auto", "messages": "hi"}']
)
def test_a_body_that_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(FlywheelError) as refused:
        read_request(raw)

    assert isinstance(refused.value, InvalidQuery)


@pytest.mark.parametrize(
    ("messages", "stream", "program"),
    [
        ([{"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title"}], False, "Open WebUI"),
        ([{"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title"}], True, ""),
        ([*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "### Task: go"}], False, ""),
        (
            [{"role": "user", "content": "Provide a concise, 5-word-or-less title for the conversation, using title"}],
            True,
            "LibreChat",
        ),
        (
            [
                {
                    "role": "system",
                    "content": "You are a professional conversation summarizer. Generate a concise title that",
                },
                {"role": "user", "content": "user: Hello"},
            ],
            True,
            "LobeChat",
        ),
        (HELLO, False, ""),
        ([{"role": "user", "content": "What does ### Task: mean in a prompt?"}], False, ""),
    ],
)
def test_side_calls_of_chat_programs_are_known_from_questions(messages: Any, stream: bool, program: str) -> None:
    assert read(messages, stream=stream).side_call_of == program
