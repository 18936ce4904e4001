"""Where an answer stands, and how a stream is cut into frames, is decided as RFC 6901 and the HTML standard say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends.decoded_frames import DecodedFrame, FrameDecoder
from agentic_flywheel.backends.http import HttpBackend
from agentic_flywheel.backends.http.answer import answer_of, usage_of
from agentic_flywheel.backends.http.pointers import NOTHING, at, is_meant
from agentic_flywheel.backends.models import FlowCall, FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowFailed, FlowProtocolError, ServerUnreachable
from agentic_flywheel.http_flows import (
    AnswerPlace,
    Frame,
    HttpRequest,
    LateAnswer,
    RequestTemplate,
    StreamRule,
    UsagePlace,
)
from agentic_flywheel.models import EventKind
from agentic_flywheel.servers import FlowServer
from backends.scenes import Scene, serving

#: The document of RFC 6901, section 5, and what its pointers lead to.
DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
POINTERS: list[tuple[str, Any]] = [
    ("", DOCUMENT),
    ("/foo", ["bar", "baz"]),
    ("/foo/0", "bar"),
    ("/", 0),
    ("/a~1b", 1),
    ("/c%d", 2),
    ("/e^f", 3),
    ("/g|h", 4),
    ("/i\\j", 5),
    ('/k"l', 6),
    ("/ ", 7),
    ("/m~0n", 8),
    *(
        (pointer, NOTHING)
        for pointer in ("/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/²", "/foo/0/0", "/none", "/foo/x")
    ),
]


@pytest.mark.parametrize(("pointer", "value"), POINTERS)
def test_a_pointer_leads_where_the_standard_says(pointer: str, value: Any) -> None:
    assert at(DOCUMENT, pointer) == value


def test_a_frame_is_meant_by_its_values_and_its_name() -> None:
    frame = Frame(when={"/type": ["a", 1, None]}, event=("token", "text"))

    meant: list[Any] = ["a", 1, None]
    others: list[Any] = ["b", True, [], {}]
    assert all(is_meant(frame, "text", {"type": value}) for value in meant)
    assert not any(is_meant(frame, "text", {"type": value}) for value in others)
    assert not is_meant(frame, "text", {})
    assert not is_meant(frame, "other", {"type": "a"})
    assert is_meant(Frame(when={"": "[DONE]"}), "message", "[DONE]")


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b'{"a":1}\n{"a":2}', [("message", {"a": 1}), ("message", {"a": 2})]),
        (b'data: {"a":1}\n\ndata:{"a":2}\n\n', [("message", {"a": 1}), ("message", {"a": 2})]),
        (b'event: token\r\ndata: "x"\r\n\r\ndata: "y"', [("token", "x"), ("message", "y")]),
        (b': ping\n\nid: 7\nretry: 3\ndata: {"a":\ndata: 1}\n\n', [("message", {"a": 1})]),
        (b"data: [DONE]\n\n", [("message", "[DONE]")]),
        (b'data: "x"\n{"a":1}\n', [("message", "x"), ("message", {"a": 1})]),
        (b"event: end\n\nnoise\n\n", []),
        (b'data:   "two spaces more"\n\n', [("message", "two spaces more")]),
    ],
)
def test_a_stream_is_decoded_by_its_lines(stream: bytes, frames: list[tuple[str, Any]]) -> None:
    for size in (1, 3, len(stream)):
        decoder = FrameDecoder("f")
        found = [frame for start in range(0, len(stream), size) for frame in decoder.feed(stream[start : start + size])]

        assert [*found, *decoder.close()] == [DecodedFrame(*each) for each in frames]


def test_a_frame_that_is_no_json_is_said() -> None:
    with pytest.raises(FlowProtocolError, match="a frame of the stream is not JSON"):
        FrameDecoder("f").feed(b'data: {"a": \n\n')
    decoder = FrameDecoder("f")
    decoder.feed(b'{"a": ')
    with pytest.raises(ServerUnreachable, match="the stream broke off"):
        decoder.close()


def test_tokens_are_counted_where_they_are_numbers() -> None:
    place = UsagePlace(input="/in", output="/out", total="/all")

    def counted(**told: Any) -> tuple[int, int, int] | None:
        usage = usage_of(place, "/model", told)
        return None if usage is None else (usage.input_tokens, usage.output_tokens, usage.total_tokens)

    assert counted(**{"in": 3, "out": 4, "all": 8}) == (3, 4, 8)
    assert counted(**{"in": 3, "out": 4}) == (3, 4, 7)
    assert counted(**{"in": 3, "out": -4, "all": "7"}) == (3, 0, 3)
    assert counted(**{"in": True, "out": None, "all": 10**30}) is None
    assert counted() is None
    named = usage_of(place, "/model", {"in": 3, "model": " m\n" + "n" * 5_000})
    assert named is not None
    assert named.model == "m " + "n" * 198


@pytest.mark.parametrize(
    ("document", "kind", "reason"),
    [
        ({}, FlowProtocolError, "at '/a' stands nothing, not a text"),
        ({"a": None}, FlowProtocolError, "at '/a' stands null, not a text"),
        ({"a": {"b": 1}}, FlowProtocolError, "at '/a' stands an object, not a text"),
        ({"a": "  "}, FlowFailed, "answered with nothing"),
    ],
)
def test_what_is_no_text_is_no_answer(document: Any, kind: type[FlowError], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        answer_of("f", AnswerPlace(text="/a"), document)


def test_an_object_can_be_the_answer_and_sources_may_be_texts() -> None:
    found = {"n": 42, "data": {"rows": [1]}, "sources": ["a.pdf", {"title": "b"}, 7]}
    answer = answer_of("f", AnswerPlace(text="/n", data="/data", sources="/sources"), found)

    assert (answer.text, answer.data) == ("42", {"rows": [1]})
    assert answer.sources == ({"metadata": {"source": "a.pdf"}}, {"title": "b"}, {"metadata": {"source": 7}})
    assert answer_of("f", AnswerPlace(data="/data"), found).text == ""
    with pytest.raises(FlowProtocolError, match="at '/n' stands a number, not an object"):
        answer_of("f", AnswerPlace(data="/n"), found)


def flow_with(place: AnswerPlace, **request: Any) -> Flow:
    return Flow(key="f", id="f", domain="d", backend="http", request=RequestTemplate(**request), answer=place)


async def answered(scene: Scene, place: AnswerPlace, **request: Any) -> str:
    async with serving(scene) as server:
        backend = HttpBackend(FlowServer(address=server.address, backend="http"))
        try:
            return (await backend.ask(FlowCall(flow=flow_with(place, **request), question="?"))).text
        finally:
            await backend.close()


async def test_a_whole_body_can_be_the_answer() -> None:
    text = AnswerPlace(format="text")

    assert await answered(Scene([b"Bec", b"ause."], "text/html"), text) == "Because."
    with pytest.raises(FlowProtocolError, match="it is a page"):
        await answered(Scene([b"\n<HTML><body>Welcome"], "text/html"), text)


async def test_a_status_means_what_the_registry_says() -> None:
    place = AnswerPlace(text="/a", error="/e", statuses={500: "retry", 409: "wait", 418: "answer", 200: "failed"})
    for status, kind, transient, said in (
        (500, FlowError, True, "is unavailable: no luck"),
        (409, FlowError, True, "asks to wait"),
        (200, FlowFailed, False, "failed: no luck"),
    ):
        with pytest.raises(kind, match=said) as raised:
            await answered(Scene([b'{"e": "no luck"}'], status=status), place)
        assert raised.value.transient is transient
    assert await answered(Scene([b'{"a": "short and stout"}'], status=418), place) == "short and stout"


async def test_a_reason_beside_a_success_is_a_failure() -> None:
    place = AnswerPlace(text="/a", error="/errors/0")

    assert await answered(Scene([b'{"a": "yes", "errors": []}']), place) == "yes"
    with pytest.raises(FlowFailed, match="no luck"):
        await answered(Scene([b'{"a": "yes", "errors": [{"error": "no luck"}]}']), place)


async def test_no_redirect_is_followed_with_headers_of_the_registry() -> None:
    async with serving(Scene([b'{"a": "elsewhere"}'])) as elsewhere:
        moved = Scene(status=307, headers={"Location": elsewhere.address})
        for method in ("GET", "POST"):
            with pytest.raises(FlowProtocolError, match="status 307 leads to another address"):
                await answered(moved, AnswerPlace(text="/a"), method=method, headers={"X-Mine": "1"})
        assert elsewhere.asked == []


async def test_the_newest_entry_that_is_whole_is_the_late_answer() -> None:
    late = LateAnswer(
        request=HttpRequest(method="GET", path="/kept"), entries="/all", where={"/c": "{{chat_id}}"}, text="/t"
    )
    kept = b'{"all": [{"c":"c-1","t":"older"},{"c":"c-1","t":"newer"},{"c":"c-1","t":""},{"c":"c-2","t":"other"},7]}'
    async with serving(Scene([kept]), Scene([b"{}"]), Scene([b"{}"], status=404)) as server:
        backend = HttpBackend(FlowServer(address=server.address, backend="http"))
        flow = flow_with(AnswerPlace(text="/a", late=late))
        found = [await backend.find(flow, "c-1", api_key=SecretStr("k-1")) for _ in range(3)]
        await backend.close()

    assert [each and each.text for each in found] == ["newer", None, None]


async def test_an_abort_is_sent_where_the_registry_says_how() -> None:
    async with serving(Scene([b"stopped"], "text/plain", 202)) as server:
        backend = HttpBackend(FlowServer(address=server.address, backend="http"))
        stop = HttpRequest(path="/stop/{{chat_id}}", body={"flow": "{{flow_id}}"})
        await backend.abort(
            flow_with(AnswerPlace(), abort=stop, headers={"X-Key": "{{key}}"}), "c 1", api_key=SecretStr("k")
        )
        await backend.abort(flow_with(AnswerPlace()), "c-1")
        await backend.close()

    (asked,) = server.asked
    assert (asked.path, asked.body, asked.headers["x-key"]) == ("/stop/c%201", b'{"flow":"f"}', "k")


RULE = StreamRule(token=Frame(when={"/type": "part"}, at="/text"), end=Frame(when={"/type": "end"}))


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_document_is_an_answer_where_a_stream_was_asked_for(kind: str) -> None:
    place = AnswerPlace(text="/a", error="/e", stream=RULE)
    for told in ('{"a": "yes"}', '{\n  "a": "yes"\n}', '\ufeff{"a":\r\n"yes"}', '{"a": "yes", "e": null}\n'):
        whole = told.encode()
        assert await answered(Scene([whole], kind), place) == "yes"
        assert await answered(Scene([bytes([each]) for each in whole], kind), place) == "yes"
    with pytest.raises(FlowFailed, match="no luck"):
        await answered(Scene([b'{"e": "no luck"}'], kind), place)
    for other in (b'{"b": "yes"}', b'{"type": "part", "a": "yes", "text": "y"}\n', b'{"a": "yes"}\n{"type": "part"}\n'):
        with pytest.raises(ServerUnreachable, match="broke off"):
            await answered(Scene([other], kind), place)


async def test_a_stream_that_the_registry_does_not_describe_is_named() -> None:
    said = "it is a stream, and the flow's `answer` has no `stream` by which to read it"
    for place, kind in ((AnswerPlace(text="/a"), "text/plain"), (AnswerPlace(format="text"), "text/event-stream")):
        with pytest.raises(FlowProtocolError, match=said):
            await answered(Scene([b'data: {"a": "yes"}\n\n'], kind), place)
    assert await answered(Scene([b"plain words"], "text/event-stream"), AnswerPlace(format="text")) == "plain words"


async def test_tokens_are_told_to_whom_wants_a_stream() -> None:
    rule = StreamRule(token=Frame(event="part"), end=Frame(event="end"))
    told: dict[bool, list[FlowNews]] = {True: [], False: []}
    async with serving(Scene([b'event: part\ndata: "yes"\n\nevent: end\ndata: 0\n\n'])) as server:
        backend = HttpBackend(FlowServer(address=server.address, backend="http"))
        for stream, news in told.items():
            call = FlowCall(flow=flow_with(AnswerPlace(stream=rule)), question="?", stream=stream)
            assert (await backend.ask(call, on_news=news.append)).text == "yes"
        await backend.close()

    assert told == {True: [FlowNews(EventKind.TOKEN, {"text": "yes"})], False: []}
