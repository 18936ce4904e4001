"""A stream is cut into the same frames, whatever its line ends are and wherever the network cut it."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentic_flywheel.backends.decoded_frames import DecodedFrame, FrameDecoder
from agentic_flywheel.backends.flowise.frames import FrameParser, StreamEvent
from agentic_flywheel.backends.frames import BOM, UNNAMED, FrameReader, StreamFrame

ENDS = st.sampled_from(["\n", "\r\n", "\r"])
#: Characters of one to four bytes, and those that end lines in a text but not in a stream.
TEXTS = st.text(st.sampled_from("ab:é中👩‍🚀 \u2028\x85\x0b"), max_size=6)
#: One field of an event, as it stands on a line.
FIELDS = st.one_of(
    TEXTS.map(lambda text: f"data: {text}"),
    TEXTS.map(lambda text: f"data:{text}"),
    TEXTS.map(lambda text: f": {text}"),
    st.sampled_from(["data", ":", "event: end", "event:delta", "id: 7", "retry: 3", "noise", "message:"]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draw a stream whose lines end each in its own way."""
    events = draw(st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=4))
    lines = [line for event in events for line in (*event, "")]
    return draw(st.sampled_from([b"", BOM])) + "".join(line + draw(ENDS) for line in lines).encode()


def by_the_standard(told: bytes) -> list[StreamFrame]:
    """Return a stream's events as section 9.2.6 of the HTML Living Standard interprets them, read all at once."""
    found, event, data = list[StreamFrame](), "", ""
    for line in (*re.split("\r\n|\n|\r", told.removeprefix(BOM).decode()), ""):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data.removesuffix("\n"):
                found.append(StreamFrame(event or UNNAMED, data.removesuffix("\n").encode()))
            event, data = "", ""
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
    return found


def parts(told: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(told), *(cut for cut in cuts if cut < len(told))})
    return [told[start:end] for start, end in itertools.pairwise(edges)]


@given(streams(), st.lists(st.integers(0, 150), max_size=150))
@settings(max_examples=300, deadline=None)
def test_any_stream_is_read_as_the_standard_says_however_it_is_cut(told: bytes, cuts: list[int]) -> None:
    reader = FrameReader("f")

    found = [frame for part in parts(told, cuts) for frame in reader.feed(part)]

    assert [*found, *reader.close()] == by_the_standard(told)


#: What is sent, with line feeds, and what it means to a flow of Flowise and to any other.
EVENT = 'message:\ndata:{"event":"token","data":"é👩‍🚀"}\n\n: ping\n\ndata: {"event":\ndata:  "end"}\n\n'
DOCUMENTS: list[Any] = [{"event": "token", "data": "é👩‍🚀"}, {"event": "end"}]


@given(ENDS, st.booleans(), st.lists(st.integers(0, 120), max_size=120))
@example("\r", True, list(range(120)))
@example("\r\n", True, list(range(120)))
@settings(max_examples=100, deadline=None)
def test_every_backend_reads_the_same_of_it(end: str, marked: bool, cuts: list[int]) -> None:
    told = (BOM if marked else b"") + EVENT.replace("\n", end).encode()
    decoder, parser = FrameDecoder("f"), FrameParser("f")

    decoded = [frame for part in parts(told, cuts) for frame in decoder.feed(part)]
    parsed = [event for part in parts(told, cuts) for event in parser.feed(part)]

    assert decoded == [DecodedFrame(UNNAMED, each) for each in DOCUMENTS]
    assert parsed == [StreamEvent(each["event"], each.get("data")) for each in DOCUMENTS]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_objects_without_an_empty_line_between_them_are_frames_of_their_own(end: str) -> None:
    objects = [{"a": 1}, {"b": "}"}, {}]
    told = "".join(f"data: {json.dumps(each)}{end}" for each in objects) + f"data: [DONE]{end}"
    decoder = FrameDecoder("f")

    found = [frame for part in parts(told.encode(), list(range(99))) for frame in decoder.feed(part)]

    assert [frame.document for frame in found] == objects
    assert [frame.document for frame in decoder.close()] == ["[DONE]"]
