"""What workers decide without I/O: retries, and the context of a call."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowFailed,
    FlowiseUnreachable,
    FlowRateLimited,
    FlowTimeout,
    FlowUnauthorized,
    FlywheelError,
    ProviderUnavailable,
    QueryFailed,
    rebuild,
)
from agentic_flywheel.models import Message, Query, Turn
from agentic_flywheel.persistence import generate_cache_key, get_ttl_for_flow, normalise, read_answer
from workers.context import compose
from workers.retry import decide

FLOW = Flow(key="f", id="f-1", domain="d", attempts=3)
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
    decision = decide(FlowiseUnreachable("f", "refused", sent=False), 99, FLOW, DRAW)

    assert decision.action == "retry"
    assert not decision.counted


def test_a_rate_limit_is_obeyed_for_as_long_as_it_says() -> None:
    decision = decide(FlowRateLimited("f", 7.0), 99, FLOW, DRAW)

    assert decision.action == "retry"
    assert decision.hold == timedelta(seconds=7)
    assert decision.delay >= decision.hold


def test_a_provider_gets_a_longer_pause() -> None:
    assert decide(ProviderUnavailable("f", "429"), 1, FLOW, DRAW).delay >= timedelta(seconds=1)


def test_flowise_remembers_or_we_send_history_never_both() -> None:
    query = Query(question="and then?", session_id="s")

    first = compose(query, FLOW, [])
    known = compose(query, FLOW, [turn(1), turn(2)])
    unknown = compose(query, FLOW, [turn(1), turn(2, remembered=False)])
    elsewhere = compose(query, FLOW, [turn(1, flow="g")])
    told = compose(query, FLOW.model_copy(update={"memory": "history"}), [turn(n) for n in range(9)])
    forgetful = compose(query, FLOW.model_copy(update={"memory": "none"}), [turn(1)])

    assert (first.session_id, first.history, first.digest) == ("s", (), "")
    assert (known.session_id, known.history) == ("s", ())
    for sent in (unknown, elsewhere, told):
        assert sent.session_id is None
        assert sent.history
    assert len(told.history) == 10
    assert told.history[-1] == Message(role="apiMessage", content="answer 8")
    assert (forgetful.session_id, forgetful.history) == (None, ())
    assert len({first.digest, known.digest, unknown.digest, elsewhere.digest, told.digest}) == 5


def test_a_given_history_replaces_the_sessions_own() -> None:
    history = (Message(role="userMessage", content="earlier"),)

    assert compose(Query(question="x", session_id="s", history=history), FLOW, [turn(1)]).history == history


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
    assert generate_cache_key("  what IS\nnew? ", FLOW) == keys[0]
    assert normalise("Is aB like `ab`?") != normalise("Is ab like `ab`?")


def test_a_flow_without_a_cache_keeps_nothing() -> None:
    assert get_ttl_for_flow(FLOW.model_copy(update={"cache": False})) == timedelta(0)
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
    assert isinstance(rebuild(info.model_copy(update={"error_type": "FromTheFuture"})), QueryFailed)


def test_a_worker_without_an_address_of_flowise_says_so_and_ends() -> None:
    env = {name: value for name, value in os.environ.items() if "FLOWISE" not in name}

    started = subprocess.run(
        [sys.executable, "-m", "workers"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert started.returncode == 2
    assert "FLOWISE_BASE_URL" in started.stderr
    assert "Traceback" not in started.stderr
