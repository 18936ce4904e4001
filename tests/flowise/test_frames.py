"""A stream is cut into the same events, however the network cut it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_flywheel.backends import frames
from agentic_flywheel.backends.flowise.frames import FrameParser, StreamEvent
from agentic_flywheel.backends.flowise.streamed import StreamedAnswer
from agentic_flywheel.backends.models import FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError
from agentic_flywheel.models import EventKind
from flowise.recordings import RECORDINGS

FLOW = Flow(key="recorded", id="r-1", domain="tests")
STREAMS = sorted(name for name, recording in RECORDINGS.items() if recording.streams)


def parsed(*chunks: bytes) -> list[StreamEvent]:
    parser = FrameParser("recorded")
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_survives_any_cutting(name: str, size: int) -> None:
    whole = RECORDINGS[name].stream
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]

    assert parsed(*pieces) == parsed(whole)


@given(st.lists(st.integers(min_value=0, max_value=700), max_size=12))
@settings(max_examples=60, deadline=None)
def test_emoji_and_line_ends_survive_any_cutting(cuts: list[int]) -> None:
    tokens = ["Grüße ", "👩‍🚀 ", "line\n\nbreak", "data: no", "\r\n"]
    told = "".join(
        "message:\r\ndata: "
        + json.dumps({"event": "token", "data": token}, ensure_ascii=False)
        + "\r\n\r\n:heartbeat\r\n\r\n"
        for token in tokens
    ).encode()
    edges = sorted({0, len(told), *(cut for cut in cuts if cut < len(told))})

    events = parsed(*(told[a:b] for a, b in itertools.pairwise(edges)))

    assert [event.data for event in events] == tokens


def test_heartbeats_are_no_events() -> None:
    assert parsed(b":heartbeat\n\n:heartbeat\n\n", b"\n\nmessage:\n\n") == []


@pytest.mark.parametrize(
    "frame", [b"data:{oops\n\n", b"data:[1]\n\n", b'data:{"data":1}\n\n', b"data:" + b"[" * 9999 + b"\n\n"]
)
def test_a_frame_that_is_not_flowises_is_refused(frame: bytes) -> None:
    with pytest.raises(FlowProtocolError):
        parsed(frame)


def test_an_endless_frame_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME", 1000)

    with pytest.raises(FlowProtocolError, match="larger"):
        parsed(b"data:", b"x" * 1001)


def test_half_an_emoji_waits_for_its_other_half() -> None:
    answer = StreamedAnswer(FLOW)
    cut = [
        r'{"event":"token","data":"ok \ud83d"}',
        r'{"event":"token","data":"\ude00!"}',
        '{"event":"metadata","data":{}}',
    ]

    told = [answer.add(event) for event in parsed(*(f"data:{each}\n\n".encode() for each in cut))]

    assert told == [[FlowNews(EventKind.TOKEN, {"text": text})] for text in ("ok ", "😀!")] + [[]]
    assert answer.answer().text == "ok 😀!"


def test_executed_nodes_are_read_whichever_way_the_frame_is_spaced() -> None:
    nodes = '[{"data":{"output":{"content":"from the last node"}}}]'
    answer = StreamedAnswer(FLOW)
    for frame in (
        f'{{ "event": "agentFlowExecutedData", "data": {nodes}}}',
        '{"event":"metadata","data":{"chatId":"c"}}',
    ):
        for event in parsed(f"data: {frame}\n\n".encode()):
            answer.add(event)

    # Without a single token the last node's content is the answer.
    assert answer.answer().text == "from the last node"
