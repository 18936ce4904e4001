"""Streams as servers really send them, also those that are like none of OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentic_flywheel.backends import FlowCall, FlowNews
from agentic_flywheel.backends.frames import BOM
from agentic_flywheel.backends.openai import reading
from agentic_flywheel.errors import (
    ContentFiltered,
    FlowError,
    FlowFailed,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    ProviderUnavailable,
    ServerUnreachable,
)
from agentic_flywheel.models import EventKind
from backends.openai.recorded import STREAM, answer, chunk, completed, failure, flow, playing, said
from backends.scenes import Scene

DONE = b"data: [DONE]\n\n"
YES, STOP = chunk({"content": "Yes."}), chunk({}, "stop")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    "lines",
    [
        [YES, STOP],
        [YES, STOP, DONE],
        [YES, chunk({}, "stop").rstrip(b"\n")],
        [b": OPENROUTER PROCESSING\n\n", YES, b": \n\n", STOP, DONE],
        [b"event: message\nid: 7\nretry: 5\n", YES.replace(b"data: ", b"data:"), STOP],
        [YES.replace(b"\n", b"\r\n"), STOP.replace(b"\n", b"\r\n")],
        [b'data: {"choices":[],"prompt_filter_results":[]}\n\n', YES, STOP],
        [YES.replace(b"\n", b"\r"), STOP.replace(b"\n", b"\r")],
        [BOM + YES, STOP],
        [YES.replace(b', "', b',\ndata: "'), STOP.replace(b', "', b',\ndata: "')],
        [YES.rstrip() + b"\n", STOP.rstrip() + b"\n", DONE],
        [*(bytes([each]) for each in BOM + b"\r\n: ping\r\n" + YES.replace(b"\n", b"\r\n") + STOP)],
        [chunk({"role": "assistant", "content": None}), YES, chunk({"content": ""}, "stop")],
        [chunk({"content": [{"type": "text", "text": "Yes."}]}, "stop")],
    ],
    ids=[
        "no done",
        "done",
        "no last line end",
        "comments",
        "other fields",
        "crlf",
        "azure",
        "cr",
        "byte order mark",
        "many lines",
        "no empty lines",
        "a byte at a time",
        "null",
        "parts",
    ],
)
async def test_a_stream_is_read_whatever_is_between_its_chunks(lines: list[bytes]) -> None:
    told: list[FlowNews] = []

    found = await answer(said(*lines), stream=True, told=told)

    assert found.text == "Yes."
    assert found.warnings == ()
    assert [news.data for news in told if news.kind is EventKind.TOKEN] == [{"text": "Yes."}]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", STREAM])
async def test_a_stream_is_told_by_its_lines_not_by_its_content_type(kind: str) -> None:
    told: list[FlowNews] = []

    found = await answer(Scene([b"\n\n", YES, STOP], kind), stream=True, told=told)

    assert found.text == "Yes."
    assert len(told) == 1


@pytest.mark.parametrize("kind", ["application/json", STREAM])
async def test_a_plain_answer_to_a_question_for_a_stream_is_one_too(kind: str) -> None:
    (body,) = completed({"content": "Yes."}, usage=USAGE).parts

    found = await answer(Scene([body], kind), stream=True)

    assert (found.text, found.first_token) == ("Yes.", None)
    assert found.usage is not None
    assert found.usage.total_tokens == 5


@pytest.mark.parametrize("kind", ["application/json", "text/plain", STREAM])
async def test_a_stream_where_none_was_asked_for_is_an_answer_too(kind: str) -> None:
    told: list[FlowNews] = []
    whole = b": ping\n\n" + YES + STOP
    cut = [bytes([each]) for each in whole]

    for lines in ([whole], cut, [YES, STOP, DONE]):
        assert (await answer(Scene(lines, kind), told=told)).text == "Yes."
    assert "broke off" in (await failure(Scene([YES], kind))).message
    assert told == []


async def test_an_answer_that_is_there_is_not_lost_for_what_follows_it() -> None:
    assert (await answer(said(YES, STOP, b'data: {"usage": {"pro'), stream=True)).text == "Yes."


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
async def test_a_plain_answer_is_told_by_what_it_is_not_by_its_content_type(kind: str) -> None:
    (body,) = completed({"content": "Yes."}).parts

    assert (await answer(Scene([body], kind))).text == "Yes."
    assert "the answer is not JSON: no JSON" in (await failure(Scene([b"no JSON"], kind))).message


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 1}, (3, 2, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}, (3, 2, 9)),
        ({"prompt_tokens": 3, "completion_tokens": -2}, (3, 0, 3)),
        ({"prompt_tokens": True, "completion_tokens": 10**40, "total_tokens": "9"}, None),
        ([3, 2], None),
    ],
)
async def test_tokens_are_counted_where_they_can_be(told: Any, counted: tuple[int, int, int] | None) -> None:
    used = (await answer(completed({"content": "Yes."}, usage=told))).usage

    assert (used and (used.input_tokens, used.output_tokens, used.total_tokens)) == counted


@pytest.mark.parametrize(
    ("details", "kept"), [({"cached_tokens": 2}, 2), ({"cached_tokens": 9}, 3), ({"cached_tokens": None}, 0), (None, 0)]
)
async def test_tokens_that_the_server_had_kept_are_told_apart(details: dict[str, Any] | None, kept: int) -> None:
    found = await answer(completed({"content": "Yes."}, usage={**USAGE, "prompt_tokens_details": details}))

    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.cached_input_tokens) == (3, kept)


@pytest.mark.parametrize(
    "lines",
    [
        [YES, STOP, f'data: {{"choices":[],"usage":{json.dumps(USAGE)}}}\n\n'.encode(), DONE],
        [YES, STOP, chunk({}, None, usage=USAGE)],
        [
            chunk({"content": "Yes."}, usage={"prompt_tokens": 3, "completion_tokens": 1}),
            chunk({}, "stop", usage=USAGE),
        ],
    ],
    ids=["openai", "litellm", "vllm"],
)
async def test_tokens_are_counted_wherever_a_server_tells_them(lines: list[bytes]) -> None:
    told: list[FlowNews] = []

    found = await answer(said(*lines), stream=True, told=told)

    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.model) == (3, 2, "m-1")
    (news,) = (each.data for each in told if each.kind is EventKind.USAGE)
    counts = {"input_tokens": 3, "cached_input_tokens": 0, "output_tokens": 2, "total_tokens": 5}
    assert news == {**counts, "model": "m-1", "step": ""}


ERROR: dict[str, Any] = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        ([YES, f"data: {json.dumps(ERROR)}\n\n".encode()], ProviderUnavailable, "boom"),
        ([YES, f"data: {json.dumps(ERROR)}\n\n".encode(), DONE], ProviderUnavailable, "boom"),
        ([YES, f"{json.dumps(ERROR)}\n".encode()], ProviderUnavailable, "boom"),
        ([YES, json.dumps(ERROR).encode()], ProviderUnavailable, "boom"),
        ([json.dumps(ERROR).encode()], ProviderUnavailable, "boom"),
        ([YES, b'data: {"object":"error","message":"boom","code":400}\n\n'], FlowRefused, "boom"),
        (
            [YES, b'data: {"choices":[{"delta":{},"error":{"message":"boom","code":502}}]}\n\n'],
            ProviderUnavailable,
            "boom",
        ),
        ([YES, STOP, f"data: {json.dumps(ERROR)}\n\n".encode()], ProviderUnavailable, "boom"),
        ([YES, DONE], FlowProtocolError, "ended without a `finish_reason`"),
        ([YES], ServerUnreachable, "the stream broke off before the answer was whole"),
        ([], FlowProtocolError, "it is no stream of chat completions"),
        ([YES, b"data: {nonsense\n\n"], FlowProtocolError, "a chunk of the stream is not JSON: {nonsense"),
        ([YES, b"event: error\ndata: upstream died\n\n"], FlowProtocolError, "is not JSON: upstream died"),
        ([YES, b"data: [1]\n\n"], FlowProtocolError, "a chunk of the stream is not an object"),
        ([STOP, DONE], FlowFailed, "the model answered with nothing"),
        ([chunk({}, "length")], FlowFailed, "its limit of tokens was used up before an answer began"),
        ([chunk({}, "content_filter")], ContentFiltered, "the whole answer was taken away"),
        ([chunk({}, "error")], ProviderUnavailable, "ended with an error"),
        ([YES, chunk({}, "error")], ProviderUnavailable, "ended with an error"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(lines: list[bytes], kind: type[FlowError], words: str) -> None:
    failed = await failure(said(*lines), stream=True)

    assert type(failed) is kind
    assert words in failed.message


@pytest.mark.parametrize(
    ("finish", "words"),
    [
        ("length", "The answer is cut: the flow's limit of tokens was reached."),
        ("content_filter", "The provider's content filter cut the answer."),
        ("tired", "The server ended the answer for a reason that is not known here: tired."),
    ],
)
async def test_an_answer_that_was_cut_says_why(finish: str, words: str) -> None:
    plain = await answer(completed({"content": "Ye"}, finish))
    streamed = await answer(said(chunk({"content": "Ye"}), chunk({}, finish)), stream=True)

    assert plain.warnings == streamed.warnings == (words,)
    assert plain.text == streamed.text == "Ye"


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource"])
async def test_an_answer_that_its_server_broke_off_is_none(finish: str) -> None:
    for stream, scene in ((False, completed({"content": "Ye"}, finish)), (True, said(YES, chunk({}, finish)))):
        assert isinstance(await failure(scene, stream=stream), ProviderUnavailable)


async def test_an_error_in_a_choice_is_named() -> None:
    error = {"code": 429, "message": "limit of m is reached"}
    choice = {"index": 0, "message": {"content": ""}, "error": error, "finish_reason": "error"}

    assert isinstance(await failure(Scene([json.dumps({"choices": [choice]}).encode()])), FlowRateLimited)


async def test_a_refusal_is_the_answer_and_said_to_be_one() -> None:
    plain = await answer(completed({"content": None, "refusal": "I can't help."}))
    streamed = await answer(said(chunk({"refusal": "I can't "}), chunk({"refusal": "help."}), STOP), stream=True)

    assert plain.text == streamed.text == "I can't help."
    assert plain.warnings == streamed.warnings == ("The model refused to answer; the text says so.",)


async def test_what_is_said_in_audio_is_the_answer_and_what_is_not_kept_is_named() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://models.test/a.png"}}
    spoken = {"content": None, "audio": {"id": "a", "data": "AAAA", "transcript": "Yes."}}
    shown = {"content": [{"type": "text", "text": "Yes."}, picture]}
    for message, kind in ((spoken, "audio"), (shown, "image_url")):
        plain = await answer(completed(message))
        streamed = await answer(said(chunk(message), STOP), stream=True)

        assert plain.text == streamed.text == "Yes."
        assert plain.warnings == streamed.warnings == (f"The model gave more than text, which is not kept: {kind}.",)


async def test_nothing_counts_after_the_end_that_a_stream_says() -> None:
    streamed = await answer(said(YES, STOP, DONE, chunk({"content": " MORE"}), b"data: no JSON\n\n"), stream=True)

    assert streamed.text == "Yes."


async def test_bytes_that_are_no_text_are_not_quoted() -> None:
    refused = await failure(Scene([b"\x8b\xff\xfe\x93" * 200]))

    assert refused.message.endswith("the answer is not JSON: (no text)")


def thinking(text: str) -> dict[str, Any]:
    """Reasoning as Mistral tells it."""
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}


@pytest.mark.parametrize(
    "reasoned", [lambda text: {"reasoning_content": text}, lambda text: {"reasoning": text}, thinking]
)
async def test_what_a_model_says_to_itself_is_a_step(reasoned: Callable[[str], dict[str, Any]]) -> None:
    told: list[FlowNews] = []

    whole = reasoned("Let me think.")
    said_after = [{"type": "text", "text": "Yes."}]
    plain = await answer(completed({**whole, "content": [*whole.get("content", ()), *said_after]}))
    lines = [chunk(reasoned("Let me ")), chunk(reasoned("think.")), YES, STOP]
    streamed = await answer(said(*lines), stream=True, told=told)

    for found in (plain, streamed):
        (step,) = found.steps
        assert (step.name, step.status, step.reasoning) == ("reasoning", "finished", "Let me think.")
        assert (found.text, found.warnings) == ("Yes.", ())
    assert streamed.steps[0].elapsed is not None
    assert [(news.kind, news.data.get("status")) for news in told] == [
        (EventKind.STEP, "running"),
        (EventKind.STEP, "finished"),
        (EventKind.TOKEN, None),
    ]


def calling(number: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": number, "id": f"call-{number}", "function": function}]}


async def test_tools_are_put_together_from_their_pieces() -> None:
    lines = [
        chunk(calling(0, name="add", arguments="")),
        chunk(calling(1, name="find", arguments='{"api_key":')),
        chunk(calling(0, arguments='{"a":')),
        chunk(calling(1, arguments='"s3cret-value"}')),
        chunk(calling(0, arguments="1}")),
        chunk({"content": "I look."}),
        chunk({}, "tool_calls"),
    ]
    told: list[FlowNews] = []

    found = await answer(said(*lines), stream=True, told=told)

    assert [(tool.name, tool.input) for tool in found.tools] == [("add", {"a": 1}), ("find", {"api_key": "(hidden)"})]
    assert (found.text, found.data) == ("I look.", None)
    assert found.warnings == ("The model asked for tools, which nobody has run here: add, find.",)
    assert "s3cret" not in json.dumps([news.data for news in told])


async def test_tools_may_come_whole_and_without_numbers() -> None:
    call = {"id": "c", "function": {"name": "add", "arguments": {"a": 1}}}
    lines = [chunk({"tool_calls": [call, call]}), chunk({}, "stop")]

    found = await answer(said(*lines), stream=True)

    assert [(tool.name, tool.input) for tool in found.tools] == [("add", {"a": 1})] * 2
    assert found.data == {"tool_calls": [{"id": "c", "name": "add", "arguments": '{"a": 1}'}] * 2}


async def test_a_tool_in_the_old_form_is_one_too() -> None:
    function = {"name": "add", "arguments": '{"a": 1}'}
    pieces = [{"name": "add", "arguments": ""}, {"arguments": '{"a":'}, {"name": "add", "arguments": " 1}"}]
    lines = [chunk({"function_call": each}) for each in pieces]

    plain = await answer(completed({"content": None, "function_call": function}, "function_call"))
    streamed = await answer(said(*lines, chunk({}, "function_call")), stream=True)

    for found in (plain, streamed):
        assert [(tool.name, tool.input) for tool in found.tools] == [("add", {"a": 1})]
        assert found.data == {"tool_calls": [{"id": "", **function}]}
        assert found.warnings == ("The model asked for tools, which nobody has run here: add.",)
    assert (await answer(completed({"content": "Yes.", "function_call": None}))).tools == ()


@pytest.mark.parametrize("numbers", [[None, None, None, None], [0, 0, 0, 0], [0, 0, 1, 1], [-1, -1, True, True]])
async def test_tools_are_told_apart_however_they_are_numbered(numbers: list[int | None]) -> None:
    pieces = [("a", "add", '{"a":'), ("", "", "1}"), ("b", "find", '{"b":'), ("", "", "2}")]
    lines = [
        chunk({"tool_calls": [{"index": number, "id": id_, "function": {"name": name, "arguments": given}}]})
        for number, (id_, name, given) in zip(numbers, pieces, strict=True)
    ]

    found = await answer(said(*lines, STOP), stream=True)

    assert [(tool.name, tool.input) for tool in found.tools] == [("add", {"a": 1}), ("find", {"b": 2})]


async def test_half_a_character_in_a_name_costs_no_answer() -> None:
    odd = {"id": "c\ud83d", "function": {"name": "add\ud83d", "arguments": "{}"}}
    whole = {**json.loads(YES[6:]), "id": "1\ud83d", "model": "m\ud83d"}
    lines = [f"data: {json.dumps(whole)}\n\n".encode(), chunk({"tool_calls": [odd]}), STOP]

    found = await answer(said(*lines), stream=True)

    assert found.model_dump_json()
    assert (found.text, found.message_id, found.tools[0].name) == ("Yes.", "1\ufffd", "add\ufffd")


async def test_an_empty_error_beside_an_answer_is_none() -> None:
    lines = [chunk({"content": "Yes."}, error={}), chunk({}, "stop", error="")]

    assert (await answer(said(*lines), stream=True)).text == "Yes."
    assert (await answer(completed({"content": "Yes."}, error={}))).text == "Yes."


@pytest.mark.parametrize("status", [200, 201, 299])
async def test_an_answer_is_one_with_any_status_of_success(status: int) -> None:
    for made, stream in ((completed({"content": "Yes."}), False), (said(YES, STOP), True)):
        found = await answer(Scene(made.parts, made.kind, status), stream=stream)

        assert found.text == "Yes."


async def test_tools_without_end_are_cut() -> None:
    lines = [chunk(calling(number, name="add", arguments="{}")) for number in range(401)]

    failed = await failure(said(*lines, STOP), stream=True)

    assert "it asks for more than 400 tools" in failed.message


async def test_an_answer_that_is_there_does_not_wait_for_a_server_that_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LAST_WORDS", 0.2)

    found = await answer(Scene([YES, STOP], STREAM, ends="never"), stream=True, flow=flow(idle_timeout=30, timeout=60))

    assert found.text == "Yes."
    assert found.elapsed < timedelta(seconds=30)


async def test_an_answer_that_is_there_survives_a_connection_that_breaks_behind_it() -> None:
    found = await answer(Scene([YES, STOP], STREAM, ends="cut"), stream=True)

    assert found.text == "Yes."


async def test_a_cut_call_closes_its_connection_and_nothing_is_found_later() -> None:
    async with playing(Scene([YES], STREAM, ends="never")) as (backend, server):
        with pytest.raises(FlowError, match=r"fell silent amid its answer, for 0\.2 s"):
            await backend.ask(FlowCall(flow=flow(idle_timeout=0.2), question="Why?", stream=True))
        await server.gone.wait()
        found = await backend.find(flow(), "chat")
        await backend.abort(flow(), "chat")

    assert found is None
    assert not backend.abilities(flow()).late_answers
    assert len(server.asked) == 1


async def test_of_several_answers_one_is_taken() -> None:
    def piece(number: int, text: str, finish: str | None = None) -> bytes:
        choice = {"index": number, "delta": {"content": text}, "finish_reason": finish}
        return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()

    both = [piece(0, "A"), piece(1, "x"), piece(0, "B"), piece(1, "y", "stop"), piece(0, "C", "stop"), DONE]
    first, second = (
        {"index": n, "message": {"content": text}, "finish_reason": "stop"} for n, text in ((0, "A"), (1, "x"))
    )

    assert (await answer(said(*both), stream=True)).text == "ABC"
    assert (await answer(Scene([json.dumps({"choices": [second, first]}).encode()]))).text == "A"


async def test_a_tool_that_takes_any_text_is_told_with_it() -> None:
    call = {"id": "t-1", "type": "custom", "custom": {"name": "draw", "input": "a house"}}

    found = await answer(completed({"content": None, "tool_calls": [call]}, "tool_calls"))

    assert found.data == {"tool_calls": [{"id": "t-1", "name": "draw", "arguments": "a house"}]}


async def test_a_refusal_beside_a_text_is_a_warning() -> None:
    found = await answer(completed({"content": "As far as I may.", "refusal": "Not the rest."}))

    assert found.text == "As far as I may."
    assert found.warnings == ("The model refused to answer: Not the rest.",)
