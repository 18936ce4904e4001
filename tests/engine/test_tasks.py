"""What Celery promises of a task holds for coroutines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import TimeLimitExceeded
from closing import UNREADABLE
from engine.conftest import APP, Station
from processes import Valkey, wait_for

#: Here tasks fail on purpose, and are unknown.
pytestmark = pytest.mark.provokes(r"engine\.engine_app|nobody\.knows|Task handler raised error")

WORKER = "worker@test"


@pytest.fixture(scope="module")
def at(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with one worker that reports events."""
    station = Station(valkey, tmp_path_factory.mktemp("tasks"), database=1)
    station.start(signals=True, options=["-E"])
    yield station
    station.close()


def test_a_coroutine_gives_its_result(at: Station) -> None:
    assert at.send("add", 1, 2).get(timeout=30) == 3


def test_a_plain_function_gives_its_result(at: Station) -> None:
    assert at.send("plain_add", 1, 2).get(timeout=30) == 3


def test_what_the_loop_needs_is_opened_before_its_first_task(at: Station) -> None:
    assert at.send("what_was_opened").get(timeout=30) == ["session"]


def test_a_hundred_tasks_wait_at_the_same_time(at: Station) -> None:
    began = time.monotonic()
    results = [at.send("add", number, 1, 0.5) for number in range(100)]

    assert [result.get(timeout=30) for result in results] == list(range(1, 101))
    assert time.monotonic() - began < 25  # one after the other they would take 50 s


def test_each_coroutine_sees_its_own_request(at: Station) -> None:
    results = [at.send("who", 0.01 * (number % 7)) for number in range(60)]

    assert all(result.get(timeout=30) == [result.id] * 3 for result in results)


def test_a_failure_is_stored_with_its_error(at: Station) -> None:
    result = at.send("fail")

    with pytest.raises(ValueError, match="boom"):
        result.get(timeout=30)
    assert result.state == "FAILURE"


def test_signals_come_around_the_body(at: Station) -> None:
    result = at.send("fail")

    assert wait_for(lambda: len(at.marks(f"signals:{result.id}")) == 2)
    assert at.marks(f"signals:{result.id}") == ["prerun", "postrun FAILURE"]


def test_hooks_come_around_the_body_and_their_errors_change_nothing(at: Station) -> None:
    result = at.send("hooked", "hello")

    assert result.get(timeout=30) == "hello"
    expected = ["before_start", "body", "on_success", "after_return SUCCESS"]
    wait_for(lambda: at.marks(f"hooks:{result.id}") == expected)


def test_a_task_that_its_first_hook_refuses_fails_without_running(at: Station) -> None:
    result = at.send("hooked", "refuse")

    with pytest.raises(LookupError, match="refused"):
        result.get(timeout=30)
    expected = ["before_start", "on_failure LookupError", "after_return FAILURE"]
    wait_for(lambda: at.marks(f"hooks:{result.id}") == expected)


def test_a_result_that_cannot_be_written_is_a_failure(at: Station) -> None:
    result = at.send("unreadable")

    wait_for(lambda: result.state == "FAILURE")


def test_a_task_retries_itself(at: Station) -> None:
    assert at.send("retry_twice").get(timeout=30) == 2


def test_a_task_is_retried_for_the_errors_it_names(at: Station) -> None:
    assert at.send("retried_by_error").get(timeout=30) == 2


def test_retries_end_with_the_error(at: Station) -> None:
    with pytest.raises(KeyError, match="never"):
        at.send("retry_for_ever").get(timeout=30)


def test_the_soft_limit_is_raised_inside_the_coroutine(at: Station) -> None:

    assert at.send("cleans_up").get(timeout=30) == "cleaned"


def test_the_hard_limit_ends_a_coroutine(at: Station) -> None:

    with pytest.raises(TimeLimitExceeded):
        at.send("ignores_limits").get(timeout=30)


def test_pydantic_models_go_in_and_out(at: Station) -> None:
    assert at.send("increment", {"value": 4}).get(timeout=30) == {"value": 5}


def test_arguments_that_do_not_fit_are_a_failure(at: Station) -> None:
    with pytest.raises(TypeError):
        at.send("add", 1).get(timeout=30)


def test_a_chain_hands_its_results_on(at: Station) -> None:
    steps = chain(at.task("add", 1, 2), at.task("add", 10), at.task("plain_add", 100))

    assert steps.apply_async().get(timeout=30) == 113


def test_a_group_gives_all_results(at: Station) -> None:
    adding = group([at.task("add", number, number) for number in range(5)], app=at.client)

    assert adding.apply_async().get(timeout=30) == [0, 2, 4, 6, 8]


def test_a_chord_joins_its_parts(at: Station) -> None:
    parts = group([at.task("add", number, number) for number in range(5)], app=at.client)

    assert chord(parts, at.task("total"), app=at.client).apply_async().get(timeout=30) == 20


def test_a_chord_of_groups_reads_the_results_of_all_its_parts(at: Station) -> None:
    nested = group([at.task("add", 1, 1), at.task("add", 2, 2)], app=at.client)
    inner = chord(nested, at.task("total"), app=at.client)

    assert (
        chord(group([inner, at.task("add", 3, 3)], app=at.client), at.task("total")).apply_async().get(timeout=30) == 12
    )


def test_callbacks_run_after_success(at: Station) -> None:
    first = at.send("add", 1, 2, link=[at.task("add", 10), at.task("add", 20)])

    assert first.get(timeout=30) == 3
    assert [child.get(timeout=30) for child in first.children] == [[13, 23]]  # two callbacks are sent as a group


def test_error_callbacks_run_after_failure(at: Station) -> None:
    failing = at.send("fail", link_error=at.task("error_seen"))

    assert wait_for(lambda: failing.id in at.marks("errors"))


def test_a_task_sent_from_a_coroutine_knows_its_parent(at: Station) -> None:
    parent_id, child_id = at.send("parent").get(timeout=30)

    assert at.client.AsyncResult(child_id).get(timeout=30) == [child_id, parent_id, parent_id]


def test_a_replaced_task_keeps_its_id(at: Station) -> None:
    assert at.send("replaced", 3, 4).get(timeout=30) == 7


def test_a_task_is_replaced_by_a_chord(at: Station) -> None:
    assert at.send("replaced_by_chord", 4).get(timeout=30) == 12


def test_a_replaced_task_in_a_chain_hands_the_final_result_on(at: Station) -> None:
    steps = chain(at.task("replaced", 3, 4), at.task("add", 10))

    assert steps.apply_async().get(timeout=30) == 17


def test_a_rejected_task_has_failed(at: Station) -> None:
    result = at.send("reject")

    wait_for(lambda: result.state == "FAILURE")


def test_an_ignored_task_is_acknowledged(at: Station) -> None:
    at.send("ignore")

    wait_for(lambda: at.unacknowledged() == 0 and at.queued() == 0)


def test_a_task_that_exits_takes_no_other_with_it(at: Station) -> None:
    for leaving in at.send("leave"), at.send("plain_leave"):
        with pytest.raises(RuntimeError, match="end of the process"):
            leaving.get(timeout=30)
    assert at.send("add", 1, 2).get(timeout=30) == 3


@pytest.mark.provokes(UNREADABLE)
def test_an_unknown_task_is_refused_and_the_next_one_runs(at: Station) -> None:
    unknown = at.client.send_task("nobody.knows")

    wait_for(lambda: unknown.state == "FAILURE")
    assert at.send("add", 1, 2).get(timeout=30) == 3


def inspect(at: Station) -> Any:
    return at.client.control.inspect(destination=[WORKER], timeout=5)


def test_a_running_task_is_shown_and_can_be_revoked(at: Station) -> None:
    at.redis.delete("long")
    running = at.send("long", 60)
    wait_for(lambda: at.marks("long") == ["started"])

    assert [task["id"] for task in inspect(at).active()[WORKER]] == [running.id]
    assert inspect(at).stats()[WORKER]["pool"]["active"] == 1
    at.client.control.revoke(running.id, terminate=True)
    wait_for(lambda: at.marks("long") == ["started", "cancelled"])
    wait_for(lambda: running.state == "REVOKED" and at.unacknowledged() == 0)


def test_a_queued_task_that_is_revoked_never_starts(at: Station) -> None:
    busy = [at.send("add", 1, 1, 2.0) for _ in range(100)]
    queued = at.send("mark", 1, 0.0)
    at.client.control.revoke(queued.id, destination=[WORKER], reply=True, timeout=5)

    # The command itself writes the state; only when the message is gone is it certain that nobody runs it.
    wait_for(lambda: queued.state == "REVOKED", within=20)
    assert busy[-1].get(timeout=30) == 2
    wait_for(lambda: at.unacknowledged() == 0 and at.queued("celery") == 0)
    assert at.marks("started") == []


def test_the_pool_grows_and_shrinks(at: Station) -> None:
    control = {"destination": [WORKER], "reply": True, "timeout": 5}

    at.client.control.pool_grow(5, **control)
    assert inspect(at).stats()[WORKER]["pool"]["max-concurrency"] == 105
    at.client.control.pool_shrink(5, **control)
    assert inspect(at).stats()[WORKER]["pool"]["max-concurrency"] == 100


def test_events_tell_of_every_step_of_a_task(at: Station) -> None:
    seen: dict[tuple[str, str], Any] = {}
    heard: list[str] = []

    def told(event: dict[str, Any]) -> None:
        seen[event.get("uuid", ""), event["type"]] = event

    def listen() -> None:
        with at.client.connection_for_read() as connection:
            receiver = at.client.events.Receiver(connection, handlers={"*": told})
            for _ in receiver.itercapture(limit=None, timeout=8, wakeup=False):
                if heard:
                    break

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    wait_for(lambda: at.redis.pubsub_numpat() > 1)
    # A retry has a time before which it is not due, and so another way through the worker.
    at_once, again = at.send("add", 1, 1), at.send("retry_twice")
    again.get(timeout=30)

    steps = ("task-received", "task-started", "task-succeeded")
    wanted = {(sent.id, step) for sent in (at_once, again) for step in steps} | {(again.id, "task-retried")}
    wait_for(lambda: wanted <= seen.keys())
    ended = seen[at_once.id, "task-succeeded"]
    assert (ended["result"], seen[at_once.id, "task-received"]["name"]) == ("2", f"{APP}.add")
    assert ended["runtime"] >= 0
    heard.append("all")
    listener.join(5)
