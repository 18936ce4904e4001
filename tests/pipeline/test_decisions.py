"""What workers decide without I/O: retries, and the context of a call."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.persistence import (
    front_digest,
    generate_cache_key,
    get_ttl_for_flow,
    read_answer,
)
from agentic_flywheel.broker.sessions import flowise_session
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowProtocolError,
    FlowRateLimited,
    FlowTimeout,
    FlowUnauthorized,
    FlywheelError,
    ProviderUnavailable,
    QueryFailed,
    ServerUnreachable,
    rebuild,
)
from agentic_flywheel.models import Message, Query, Turn, Usage
from workers.context import compose
from workers.retry import decide
from workers.synthesis import total_usage

FLOW = Flow(key="f", id="f-1", domain="d", attempts=3)
CATALOG = Catalog(flows={"f": FLOW})
DRAW = random.Random(1)


def turn(number: int, *, flow: str = "f", remembered: bool = True) -> Turn:
    return Turn(
        query_id=f"q-{number}",
        question=f"question {number}",
        answer=f"answer {number}",
        flow=flow,
        domain="d",
        remembered=remembered,
        at=datetime.now(UTC),
    )


@pytest.mark.parametrize("error", [FlowFailed("f", "x"), FlowUnauthorized("f", "x")])
def test_a_permanent_failure_is_not_retried(error: FlywheelError) -> None:
    assert decide(error, 1, FLOW, DRAW).action == "fail"


def test_a_flow_with_a_fallback_falls_back_when_it_gives_up() -> None:
    flow = FLOW.model_copy(update={"fallback": "g"})

    assert decide(FlowFailed("f", "x"), 1, flow, DRAW).action == "fallback"
    assert decide(FlowTimeout("f", 1.0), 3, flow, DRAW).action == "fallback"


def test_attempts_are_counted_and_pauses_grow_within_their_bound() -> None:
    pauses = [decide(FlowTimeout("f", 1.0), attempt, FLOW, DRAW) for attempt in (1, 2, 3)]

    assert [each.action for each in pauses] == ["retry", "retry", "fail"]
    assert timedelta(0) < pauses[0].delay <= timedelta(seconds=0.5)
    assert pauses[1].delay <= timedelta(seconds=1.0)


def test_what_never_reached_the_flow_uses_up_no_attempt() -> None:
    decision = decide(ServerUnreachable("f", "refused", sent=False), 99, FLOW, DRAW)

    assert decision.action == "retry"
    assert not decision.counted


def test_a_rate_limit_is_obeyed_for_as_long_as_it_says() -> None:
    decision = decide(FlowRateLimited("f", 7.0), 99, FLOW, DRAW)

    assert decision.action == "retry"
    assert decision.throttled == timedelta(seconds=7)
    assert decision.delay >= decision.throttled


def test_what_the_parts_of_an_answer_used_is_added_up() -> None:
    gpt, other = Usage(input_tokens=10, output_tokens=5, total_tokens=15, model="gpt"), Usage(total_tokens=7, model="x")

    assert total_usage([gpt, None, gpt]) == Usage(input_tokens=20, output_tokens=10, total_tokens=30, model="gpt")
    assert total_usage([gpt, other]) == Usage(input_tokens=10, output_tokens=5, total_tokens=22)
    assert total_usage([None, None]) is None


def test_a_provider_that_is_down_is_asked_once_more_after_a_longer_pause() -> None:
    down = ProviderUnavailable("f", "429", repeated=True)
    first, second = (decide(down, attempt, FLOW, DRAW) for attempt in (1, 2))

    assert first.action == "retry"
    assert first.delay >= timedelta(seconds=1)
    assert second.action == "fail"
    assert decide(down, 1, FLOW.model_copy(update={"attempts": 1}), DRAW).action == "fail"


def test_a_provider_that_nobody_else_asked_again_is_asked_as_often_as_the_flow_may_be() -> None:
    down = ProviderUnavailable("f", "503")

    assert [decide(down, attempt, FLOW, DRAW).action for attempt in (2, 3)] == ["retry", "fail"]


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_where_it_is_lost() -> None:
    unread = FlowProtocolError("f", "it is not JSON", lost=True)

    assert [decide(unread, attempt, FLOW, DRAW).action for attempt in (1, 2)] == ["retry", "fail"]
    assert decide(FlowProtocolError("f", "it is not JSON"), 2, FLOW, DRAW).action == "retry"
    assert "it is not JSON" in unread.message


@pytest.mark.parametrize("cut", [FlowTimeout("f", 1.0, lost=True), ServerUnreachable("f", "it broke", lost=True)])
def test_a_call_whose_answer_is_lost_is_repeated_once(cut: FlowError) -> None:
    assert [decide(cut, attempt, FLOW, DRAW).action for attempt in (1, 2)] == ["retry", "fail"]
    assert "its answer is lost" in cut.message


def test_where_there_is_a_fallback_it_is_asked_as_soon_as_the_provider_is_down() -> None:
    flow = FLOW.model_copy(update={"fallback": "g"})

    assert decide(ProviderUnavailable("f", "503"), 1, flow, DRAW).action == "fallback"


def test_flowise_remembers_or_we_send_history_never_both() -> None:
    query = Query(question="and then?", session_id="s")

    first = compose(query, FLOW, [], life="a")
    known = compose(query, FLOW, [turn(1), turn(2)], life="a")
    unknown = compose(query, FLOW, [turn(1), turn(2, remembered=False)], life="a")
    elsewhere = compose(query, FLOW, [turn(1, flow="g")], life="a")
    told = compose(query, FLOW.model_copy(update={"memory": "history"}), [turn(n) for n in range(9)], life="a")
    forgetful = compose(query, FLOW.model_copy(update={"memory": "none"}), [turn(1)], life="a")

    assert (first.session_id, first.history, first.digest) == (flowise_session("a", None), (), "")
    assert (known.session_id, known.history) == (first.session_id, ())
    for sent in (unknown, elsewhere, told):
        assert sent.session_id is None
        assert sent.history
    assert len(told.history) == 18
    assert told.history[-1] == Message(role="apiMessage", content="answer 8")
    assert (forgetful.session_id, forgetful.history) == (None, ())
    assert len({first.digest, known.digest, unknown.digest, elsewhere.digest, told.digest}) == 5


def test_a_given_history_replaces_the_sessions_own() -> None:
    history = (Message(role="userMessage", content="earlier"),)

    assert compose(Query(question="x", session_id="s", history=history), FLOW, [turn(1)]).history == history


def test_a_server_that_takes_no_history_is_told_of_its_own_turns_alone_and_that_is_said() -> None:
    query = Query(question="and then?", session_id="s")
    first = compose(query, FLOW, [], life="a", takes_history=False)
    known = compose(query, FLOW, [turn(1)], life="a", takes_history=False)
    cached = compose(query, FLOW, [turn(1), turn(2, remembered=False)], life="a", takes_history=False)

    assert {each.session_id for each in (first, known, cached)} == {flowise_session("a", None)}
    assert (first.warnings, known.warnings, cached.history) == ((), (), ())
    assert "turns that another flow or the cache has answered are not in its own memory" in cached.warnings[0]
    assert len({first.digest, known.digest, cached.digest}) == 3


@pytest.mark.parametrize(
    ("memory", "takes_history", "sent"),
    [("none", False, 0), ("none", True, 1), ("flowise", False, 1), ("flowise", True, 1)],
)
def test_a_given_history_is_left_out_only_where_nothing_is_to_be_remembered_and_none_taken(
    memory: str, takes_history: bool, sent: int
) -> None:
    flow = FLOW.model_copy(update={"memory": memory})
    query = Query(question="x", history=(Message(role="userMessage", content="before"),))

    assert len(compose(query, flow, [], takes_history=takes_history).history) == sent


def test_the_cache_key_is_everything_that_determines_the_answer() -> None:
    changed = FLOW.model_copy(update={"config": {"temperature": 0.1}})
    keys = [
        generate_cache_key("What is new?", FLOW),
        generate_cache_key("What is old?", FLOW),
        generate_cache_key("What is new?", changed),
        generate_cache_key("What is new?", FLOW, config={"temperature": 1}),
        generate_cache_key("What is new?", FLOW, context="history"),
    ]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ls -l A", "ls -l a"),
        ("What is the capital of the US?", "What is the capital of the us?"),
        ("Is this Polish?", "Is this polish?"),
        ("In Maßen", "In Massen"),
        ("for x in y:\n    pass\n    print(x)", "for x in y:\n    pass\nprint(x)"),
        ("a:\n  b: 1\nc: 2", "a:\n  b: 1\n  c: 2"),
        ("  a: 1\n  b: 2", "a: 1\n  b: 2"),
        ("two  spaces", "two spaces"),
        ("one\n\ntwo", "one\ntwo"),
    ],
)
def test_questions_that_are_written_differently_are_different_questions(one: str, other: str) -> None:
    assert generate_cache_key(one, FLOW) != generate_cache_key(other, FLOW)
    assert front_digest(Query(question=one), CATALOG) != front_digest(Query(question=other), CATALOG)


@pytest.mark.parametrize("other", ["two\nlines  ", " \n\ntwo\r\nlines\r\n", "two\rlines\t"])
def test_line_ends_and_white_space_around_a_question_do_not_matter(other: str) -> None:
    assert generate_cache_key(other, FLOW) == generate_cache_key("two\nlines", FLOW)
    assert generate_cache_key("  one line ", FLOW) == generate_cache_key("one line", FLOW)


def test_the_forms_of_one_character_are_one() -> None:
    assert generate_cache_key("caf\u00e9", FLOW) == generate_cache_key("cafe\u0301", FLOW)


def test_a_flow_for_prose_may_choose_a_loose_match() -> None:
    prose = FLOW.model_copy(update={"match": "loose"})

    assert generate_cache_key("  what IS\nnew? ", prose) == generate_cache_key("What is new?", prose)
    assert generate_cache_key("Is aB like `ab`?", prose) != generate_cache_key("Is ab like `ab`?", prose)


def test_a_kept_answer_is_its_askers_unless_the_flow_shares_it() -> None:
    shared = FLOW.model_copy(update={"cache": "shared"})
    askers = [Asker("ann"), Asker("bob"), Asker("ann", "bob"), Asker("ann", "cleo")]

    assert len({generate_cache_key("x", FLOW, asker=each) for each in askers}) == len(askers)
    assert len({generate_cache_key("x", shared, asker=each) for each in askers}) == 1


def test_the_latest_turns_that_fit_are_sent_and_the_rest_is_counted() -> None:
    flow = FLOW.model_copy(update={"memory": "history", "history_turns": 3, "history_chars": 100})
    query = Query(question="and then?", session_id="s")

    few = compose(query, flow, [turn(n) for n in range(9)])
    wordy = compose(query, flow, [turn(1), turn(2).model_copy(update={"answer": "long " * 30}), turn(3)])
    wordier = compose(query, flow, [turn(1), turn(2).model_copy(update={"answer": "long " * 30})])

    assert [each.content for each in few.history[::2]] == ["question 6", "question 7", "question 8"]
    assert (few.left_out, few.shortened) == (6, False)
    assert [each.content for each in wordy.history] == ["question 3", "answer 3"]
    assert (wordy.left_out, wordy.shortened) == (2, False)
    assert wordier.history[0].content == "question 2"
    assert wordier.history[1].content.endswith("…")
    assert sum(len(each.content) for each in wordier.history) == 100
    assert (wordier.left_out, wordier.shortened) == (1, True)


def test_a_flow_without_a_cache_keeps_nothing() -> None:
    assert get_ttl_for_flow(FLOW.model_copy(update={"cache": "off"})) == timedelta(0)
    assert get_ttl_for_flow(FLOW) == FLOW.ttl


@pytest.mark.parametrize(
    ("stored", "text"),
    [("plain text", "plain text"), ('{"text": "t", "more": 1}', "t"), ('{"response": "r"}', "r"), ("[1]", "[1]")],
)
def test_a_cached_value_that_is_not_ours_becomes_the_answers_text(stored: str, text: str) -> None:
    assert read_answer(stored, "f").text == text


def test_every_error_survives_the_way_to_another_process_and_says_what_to_do() -> None:
    def all_errors(base: type[FlywheelError]) -> list[type[FlywheelError]]:
        return [each for sub in base.__subclasses__() for each in (sub, *all_errors(sub))]

    for kind in all_errors(FlywheelError):
        if kind.__name__ == "FlowError":
            continue
        values = {
            each.name: {"str": "x", "float": 1.0, "int": 1, "bool": True}.get(str(each.type).partition("[")[0], ["x"])
            for each in fields(kind)
        }
        error = kind(**values)
        info = error.describe()
        again = rebuild(type(info).model_validate_json(info.model_dump_json()))

        assert type(again) is kind
        assert again.args == error.args
        assert again.message == error.message
        assert len(info.recovery_suggestions) >= 3, kind
        # What is told can be copied: a placeholder stands only where there is no id.
        assert info.query_id is None or "<query_id>" not in " ".join(info.recovery_suggestions), kind
    assert isinstance(rebuild(info.model_copy(update={"error_type": "FromTheFuture"})), QueryFailed)


def test_a_worker_without_an_address_of_flowise_says_so_and_ends() -> None:
    env = {name: value for name, value in os.environ.items() if "FLOWISE" not in name}

    started = subprocess.run(
        [sys.executable, "-m", "workers"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert started.returncode == 2
    assert "FLOWISE_BASE_URL" in started.stderr
    assert "Traceback" not in started.stderr
