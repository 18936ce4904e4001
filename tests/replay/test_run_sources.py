"""Questions as they are read: lines, rows, earlier replays, Langfuse; samples; and their order."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer, Span
from pydantic import SecretStr

from agentic_flywheel.errors import UnusableSource
from agentic_flywheel.models import State
from agentic_flywheel.settings import Settings
from producer.replay import ids
from producer.replay.csv_source import read_csv
from producer.replay.files import read_file, read_stream
from producer.replay.folder import Done
from producer.replay.items import ReplayItem
from producer.replay.json_source import MAX_LINE
from producer.replay.langfuse_source import read_dataset, read_traces
from producer.replay.opening import NO_TEXT
from producer.replay.reads import Note, Problem
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult
from producer.replay.sample import ItemSample
from producer.replay.sources import source_named
from producer.replay.turns import Turns
from producer.replay.wanted import Wanted


def lines(*given: str | bytes | dict[str, Any]) -> list[ReplayItem | Problem]:
    raw = [
        each if isinstance(each, bytes) else (each if isinstance(each, str) else json.dumps(each)).encode()
        for each in given
    ]
    return [each for each in read_stream(io.BytesIO(b"\n".join(raw))) if not isinstance(each, Note)]


def test_a_line_gives_every_field_and_its_number() -> None:
    (item,) = lines(
        {
            "question": "Why?",
            "id": 7,
            "session_id": "s",
            "flow": "f",
            "domain": "d",
            "profile": "p",
            "expected": "because",
            "expected_flow": "f",
            "expected_domain": None,
            "metadata": {"a": 1},
            "answer": "it was so",
        }
    )

    assert item == ReplayItem(
        number=1,
        id="7",
        question="Why?",
        session_id="s",
        flow="f",
        domain="d",
        profile="p",
        expected="because",
        expected_flow="f",
        metadata={"a": 1},
        baseline=Recorded(text="it was so"),
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{bad", "not JSON"),
        ("[1]", "no JSON object"),
        ({}, "it has no 'question' but nothing"),
        ({"qestion": "q"}, "it has no 'question' but qestion; name the one"),
        ({"question": "  "}, "white space"),
        ({"question": 3}, "question: it should be a text"),
        ({"question": "q", "flow": "no slug!"}, "flow: it should be at most 128 letters"),
        (b'{"question": "\xff"}', NO_TEXT),
        (r'{"question": "\ud800"}', "question: U+D800 (half of a surrogate pair) at position 1"),
        ({"question": "q" * 32_001}, "question: it should have at most"),
        ({"item": {}, "outcome": {}}, "item.question"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_stops_no_other(line: str | bytes, reason: str) -> None:
    first, bad, last = lines({"question": "one"}, line, {"question": "three"})

    assert isinstance(bad, Problem)
    assert bad.number == 2
    assert reason in bad.reason
    assert [first.number, last.number] == [1, 3]
    assert isinstance(last, ReplayItem)


def test_a_line_too_long_to_hold_is_skipped_whole() -> None:
    long, after = lines(b'{"question":"' + b"x" * (2 * MAX_LINE), {"question": "after"})

    assert isinstance(long, Problem)
    assert str(MAX_LINE) in long.reason
    assert (after.number, after.question if isinstance(after, ReplayItem) else "") == (2, "after")


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (timedelta(days=1), "1d"),
        (timedelta(hours=36), "36h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=90.5), "90.5s"),
        (timedelta(), "0d"),
    ],
)
def test_a_source_is_named_with_its_filters_as_they_are_given(span: timedelta, told: str) -> None:
    wanted = Wanted(since=span, state=State.FAILED, flow="f")

    assert source_named("records", wanted).title == f"records since={told} flow=f state=failed"


def test_empty_lines_and_a_byte_order_mark_do_not_count() -> None:
    found = lines(b'\xef\xbb\xbf{"question": "one"}', "", "   ", {"question": "four"})

    assert [(each.number, isinstance(each, ReplayItem)) for each in found] == [(1, True), (4, True)]


def test_rows_of_csv_keep_their_line_numbers_and_their_other_columns() -> None:
    rows = (
        'id,question,team,metadata\na,"two\nlines",red,"{""x"": 1}"\n\nb,plain,,\n'
        'c,bad,,{\nd,too,many,,values\ne,"  ",,\n'
    )

    found = list(read_csv(io.StringIO(rows, newline="")))

    good = [each for each in found if isinstance(each, ReplayItem)]
    bad = [each for each in found if isinstance(each, Problem)]
    assert [(each.number, each.id, each.metadata) for each in good] == [
        (2, "a", {"team": "red", "x": 1}),
        (5, "b", {}),
    ]
    assert [(each.number, each.reason.partition(":")[0]) for each in bad] == [
        (6, "metadata is not JSON"),
        (7, "it has 5 values for 4 columns"),
        (8, "question"),
    ]


def test_the_results_of_an_earlier_replay_are_questions_with_their_outcome_as_baseline(tmp_path: Path) -> None:
    moment = datetime.now(UTC)
    outcome = Recorded(text="so", flow_keys=("f",))
    before = ReplayItem(number=9, id="q9", question="Why?", expected="so", baseline=Recorded(text="older"))
    result = ItemResult(item=before, outcome=outcome, started=moment, ended=moment)
    (tmp_path / "results.jsonl").write_text(result.written() + "\n")

    (item,) = read_file(tmp_path)

    assert item == before.model_copy(update={"number": 1, "baseline": outcome})


def test_ids_of_a_replay_share_a_channel_and_are_told_again() -> None:
    found = [ids.query_id("run", number, attempt) for number in range(1, 300) for attempt in (1, 2)]

    assert found == [ids.query_id("run", number, attempt) for number in range(1, 300) for attempt in (1, 2)]
    assert len(set(found)) == len(found)
    assert {each[:8] for each in found} == {ids.channel_of("run")}
    assert {(len(each), each[12], each[16] in "89ab") for each in found} == {(32, "4", True)}
    assert ids.query_id("other", 1) not in found


def item(number: int, session: str | None = None) -> ReplayItem:
    return ReplayItem(number=number, id=str(number), question="q", session_id=session)


def test_the_turns_of_a_session_follow_each_other_and_others_go_on_beside_them() -> None:
    turns = Turns(iter([item(1, "a"), item(2, "a"), item(3), item(4, "b"), item(5, "a")]))

    def given() -> int | None:
        found = turns.next()
        return found.number if found else None

    assert [given() for _ in range(4)] == [1, 3, 4, None]
    turns.ended(item(3))
    assert given() is None
    turns.ended(item(1, "a"))
    assert [given(), given()] == [2, None]
    turns.ended(item(2, "a"))
    turns.ended(item(4, "b"))
    assert [given(), given()] == [5, None]
    turns.ended(item(5, "a"))
    assert given() is None


def test_one_long_conversation_is_not_read_into_memory() -> None:
    read: list[int] = []

    def endless() -> Iterator[ReplayItem]:
        for number in range(1, 1_000_000):
            read.append(number)
            yield item(number, "one")

    turns = Turns(endless(), window=10)
    current = turns.next()
    for _ in range(100):
        assert current is not None
        assert turns.next() is None
        turns.ended(current)
        current = turns.next()

    assert len(read) < 120


def test_a_sample_has_its_size_its_order_whole_conversations_and_is_the_same_again() -> None:
    given = [item(number, f"s{number % 50}" if number % 2 else None) for number in range(1, 2001)]

    def drawn(size: int) -> list[ReplayItem]:
        sample = ItemSample(size)
        for each in given:
            sample.add(each)
        return list(sample.items())

    chosen = drawn(300)
    sessions = Counter(each.session_id for each in chosen if each.session_id)
    whole = Counter(each.session_id for each in given if each.session_id)

    assert len(chosen) == 300
    assert [each.number for each in chosen] == sorted(each.number for each in chosen)
    assert sum(count < whole[name] for name, count in sessions.items()) <= 1
    assert chosen == drawn(300)
    assert drawn(5000) == given


def test_done_numbers_are_remembered_by_a_bit() -> None:
    done = Done()
    for number in (1, 8, 999_999):
        done.add(number)

    assert [number in done for number in (1, 2, 7, 8, 9, 999_998, 999_999, 5_000_000)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@pytest.fixture
def langfuse() -> Iterator[tuple[LangfuseServer, Settings]]:
    with LangfuseServer() as server:
        yield (
            server,
            Settings(
                langfuse_base_url=server.url, langfuse_public_key=PUBLIC_KEY, langfuse_secret_key=SecretStr(SECRET_KEY)
            ),
        )


async def test_a_dataset_is_read_page_by_page_with_what_it_expects(langfuse: tuple[LangfuseServer, Settings]) -> None:
    server, settings = langfuse
    server.datasets["faq"] = [
        {"input": "Why?", "expectedOutput": "because", "metadata": {"expected_flow": "f"}},
        {"input": {"question": "How?", "flow": "g"}, "expectedOutput": {"answer": "so"}},
        {"input": {"topic": "none"}},
        *({"input": f"question {number}"} for number in range(200)),
    ]

    found = [each async for each in read_dataset(settings, "faq")]

    first, second, bad = found[:3]
    assert len(found) == 203
    assert first == ReplayItem(
        number=1,
        id="item-0",
        question="Why?",
        expected="because",
        expected_flow="f",
        metadata={"expected_flow": "f", "langfuse_dataset": "faq", "langfuse_item": "item-0"},
    )
    assert isinstance(second, ReplayItem)
    assert (second.question, second.flow, second.expected) == ("How?", "g", "so")
    assert isinstance(bad, Problem)
    assert "names no question" in bad.reason


def _root(number: int, **more: Any) -> Span:
    values = {"input": f"question {number}", "output": f"answer {number}", "type": "agent"}
    metadata = {"state": "succeeded", "flow": "f", "domain": "d", "confidence": 0.8, **more.pop("metadata", {})}
    attributes = {f"langfuse.observation.{name}": value for name, value in {**values, **more}.items()}
    attributes |= {f"langfuse.observation.metadata.{name}": value for name, value in metadata.items()}
    attributes["langfuse.trace.tags"] = ["client:replay" if number == 3 else "client:python"]
    start = 1_760_000_000_000_000_000 + number * 1_000_000_000
    return Span(
        f"{number:032x}", f"{number:016x}", None, "root", start, start + 250_000_000, False, attributes, {}, (), 0.0
    )


async def test_traces_are_questions_with_what_became_of_them(langfuse: tuple[LangfuseServer, Settings]) -> None:
    server, settings = langfuse
    for number in range(1, 521):
        failed = {"output": None, "metadata": {"state": "failed", "error_type": "FlowFailed"}} if number == 2 else {}
        span = _root(number, **failed)
        server.spans[span.trace_id, span.span_id] = span

    every = [each async for each in read_traces(settings, Wanted())]
    (failed_one,) = [each async for each in read_traces(settings, Wanted(error_type="FlowFailed"))]

    assert len(every) == 519  # without the one that a replay asked
    last = every[0]
    assert isinstance(last, ReplayItem)
    assert last.baseline is not None
    assert (last.question, last.baseline.text, last.baseline.flow_keys) == ("question 520", "answer 520", ("f",))
    assert (last.baseline.confidence, last.baseline.latency_ms) == (0.8, 250.0)
    assert isinstance(failed_one, ReplayItem)
    assert failed_one.baseline is not None
    assert (failed_one.baseline.state, failed_one.baseline.text) == ("failed", "")


async def test_a_langfuse_that_is_away_or_not_set_is_told(langfuse: tuple[LangfuseServer, Settings]) -> None:
    server, settings = langfuse
    server.fail("status", status=403)

    with pytest.raises(UnusableSource, match="Langfuse could not be read"):
        [each async for each in read_dataset(settings, "faq")]
    with pytest.raises(UnusableSource, match="LANGFUSE_PUBLIC_KEY"):
        [each async for each in read_traces(Settings(), Wanted())]
