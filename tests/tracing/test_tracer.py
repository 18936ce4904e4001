"""The tracer against a real server, in all its moods."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from langfuse_server import Failure, LangfuseServer
from processes import Process, wait_for

from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import State, Usage
from agentic_flywheel.tracing import Observation, Tracer, derive_span_id, root_span_id
from agentic_flywheel.tracing.file_sink import read_lines
from tracing.conftest import MakeTracer
from tracing.records import record


def now() -> int:
    return time.time_ns()


def query(tracer: Tracer, *, private: bool = False) -> str:
    """Record a query as three processes would: nothing but its id is known to all."""
    ended = record()
    trace = tracer.trace(ended.query_id, session="s-1", user="ada", private=private)
    trace.observe("queue-wait", start=now(), end=now(), metadata={"queue": "classify"})
    attempt = derive_span_id(ended.query_id, "attempt", 1)
    trace.observe(
        "flow-execution",
        "generation",
        start=now(),
        end=now(),
        span_id=attempt,
        input="How?",
        output={"text": "So."},
        usage=Usage(input_tokens=1),
        level="ERROR",
        message="FlowTimeout",
    )
    tracer.trace(ended.query_id).observe("cache-check", start=now(), end=now(), parent=attempt)
    tracer.trace(ended.query_id, private=private).root(ended, title="Technical Analysis")
    return ended.query_id


def test_a_query_is_one_tree_with_one_root(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server, langfuse_environment="staging", langfuse_release="1.2")
    query_id = query(tracer)

    assert tracer.close()

    spans = {span.name: span for span in server.trace(query_id)}
    root = spans["Technical Analysis: connect PostgreSQL Python"]
    assert root.parent is None
    assert root.span_id == root_span_id(query_id)
    assert root.attributes["session.id"] == "s-1"
    assert root.attributes["user.id"] == "ada"
    assert root.attributes["langfuse.trace.tags"] == ["domain:technical", "band:high", "client:cli"]
    assert root.attributes["langfuse.trace.name"] == root.name
    assert {span.attributes["langfuse.environment"] for span in spans.values()} == {"staging"}
    assert {span.attributes["langfuse.release"] for span in spans.values()} == {"1.2"}
    assert spans["queue-wait"].parent == root.span_id
    assert spans["flow-execution"].is_error
    assert spans["flow-execution"].attribute("output") == '{"text": "So."}'
    assert spans["cache-check"].parent == spans["flow-execution"].span_id
    assert (server.orphans(), server.duplicates, server.problems) == ([], [], [])


def test_every_attempt_of_a_redelivered_task_is_seen(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server)
    trace = tracer.trace(new_query_id())
    for _ in range(3):
        trace.observe("flow-execution", "generation", start=now(), end=now())

    tracer.close()

    assert len(server.spans) == 3
    assert server.duplicates == []


def test_hundreds_of_queries_from_several_tracers_give_as_many_roots(
    server: LangfuseServer, make_tracer: MakeTracer
) -> None:
    tracers = [make_tracer(server) for _ in range(3)]
    ended = [record() for _ in range(200)]

    def work(tracer: Tracer, number: int) -> None:
        for each in ended:
            tracer.trace(each.query_id).observe(f"step {number}", start=now(), end=now())
            if number == 0:
                tracer.trace(each.query_id).root(each)

    threads = [threading.Thread(target=work, args=(tracer, n)) for n, tracer in enumerate(tracers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tracer in tracers:
        assert tracer.close(5)

    assert len(server.roots()) == 200
    assert len(server.spans) == 800
    assert (server.orphans(), server.duplicates, server.problems) == ([], [], [])


def test_a_private_query_shows_no_text(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server)
    query_id = query(tracer, private=True)
    tracer.close()

    for span in server.trace(query_id):
        assert span.attribute("input") is None
        assert span.attribute("output") is None
        assert "PostgreSQL" not in span.name


def test_secrets_are_taken_out_of_everything_shown(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server)
    secret = "sk-proj-abcdefghij0123456789"
    tracer.trace(new_query_id()).observe(
        f"step {secret}", start=1, end=2, input=secret, output=[secret], metadata={"a": {"b": secret}}, message=secret
    )
    tracer.close()

    (span,) = server.spans.values()
    assert secret not in str(span)
    assert "[redacted]" in str(span)


def test_masking_can_be_off_or_ones_own(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    for mask, shown in (("off", "write to ada@example.com"), ("textwrap:shorten", "[not shown: masking failed]")):
        tracer = make_tracer(server, trace_mask=mask)
        query_id = new_query_id()
        tracer.trace(query_id).observe("step", start=1, end=2, input="write to ada@example.com")
        tracer.close()
        (span,) = server.trace(query_id)
        assert span.attribute("input") == shown


def test_texts_are_cut_to_size(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server, trace_io_limit=100)
    tracer.trace(new_query_id()).observe("step", start=1, end=2, input="x" * 5000, output=["y" * 5000])
    tracer.close()

    (span,) = server.spans.values()
    assert len(span.attribute("input")) < 150
    assert len(span.attribute("output")) < 150


def test_a_query_that_is_not_sampled_leaves_nothing(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server, langfuse_sample_rate=0.0)
    query(tracer)

    assert tracer.close()
    assert server.requests.total() == 0
    assert tracer.counts.accepted == 0


def test_nothing_is_recorded_where_tracing_is_off(tmp_path: Path, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(tracing_enabled=False)
    query(tracer)

    assert tracer.close()
    assert list(tmp_path.iterdir()) == []


def test_without_keys_traces_go_to_a_file(tmp_path: Path, make_tracer: MakeTracer) -> None:
    tracer = make_tracer()
    query_id = query(tracer)

    assert tracer.close()
    seen = list(read_lines(tmp_path / "traces", containing=query_id.encode()))
    assert [each.name for each in seen if each.is_root] == ["Technical Analysis: connect PostgreSQL Python"]
    assert {each.parent for each in seen if each.name == "queue-wait"} == {root_span_id(query_id)}


def test_what_cannot_be_recorded_raises_nothing_and_takes_nothing_with_it(
    server: LangfuseServer, make_tracer: MakeTracer
) -> None:
    tracer = make_tracer(server)

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text of me")

    trace = tracer.trace(new_query_id())
    trace.observe("odd input", start=1, end=2, input=Odd())
    trace.observe("odd metadata", start=1, end=2, metadata=5)  # type: ignore[arg-type]
    trace.observe("odd time", start="then", end=2)  # type: ignore[arg-type]
    trace.observe("odd parent", start=1, end=2, parent="the one above")
    trace.root(None)  # type: ignore[arg-type]
    tracer.trace("an id that is no uuid").observe("good", start=1, end=2)
    tracer.close()

    assert tracer.counts.dropped == 5
    assert [span.name for span in server.spans.values()] == ["good"]


# Failures


def test_a_batch_that_fails_for_a_moment_is_sent_again(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.fail("status", status=503, headers={"Retry-After": "0"}, times=1)
    tracer = make_tracer(server)
    query(tracer)

    wait_for(lambda: tracer.counts.sent == 4, what="all sent after a refusal")
    assert tracer.counts.dropped == 0
    assert server.requests["/api/public/otel/v1/traces"] == 2


@pytest.mark.parametrize("kind", ["reset", "malformed"])
def test_a_connection_that_breaks_is_made_anew(server: LangfuseServer, make_tracer: MakeTracer, kind: Failure) -> None:
    server.fail(kind, times=1)
    tracer = make_tracer(server)
    query(tracer)

    wait_for(lambda: tracer.counts.sent == 4, what="all sent")
    assert server.orphans() == []


def test_a_request_that_is_too_large_is_halved_until_it_fits(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.max_spans = 3
    tracer = make_tracer(server)
    for _ in range(4):
        query(tracer)

    assert tracer.close(5)
    assert len(server.spans) == 16
    assert tracer.counts.dropped == 0


def test_one_observation_that_is_too_large_by_itself_is_dropped(
    server: LangfuseServer, make_tracer: MakeTracer
) -> None:
    server.max_bytes = 5000
    tracer = make_tracer(server)
    query(tracer)
    tracer.trace(new_query_id()).observe("large", start=1, end=2, input="x" * 9000)

    assert tracer.close(5)
    assert (tracer.counts.sent, tracer.counts.dropped) == (4, 1)


def test_a_large_backlog_leaves_in_requests_that_the_server_takes(
    server: LangfuseServer, make_tracer: MakeTracer
) -> None:
    tracer = make_tracer(server)
    trace = tracer.trace(new_query_id())
    for number in range(1000):
        trace.observe("step", start=1, end=2, input=f"{number} " + "x" * 9000)

    assert tracer.close(20)
    assert len(server.spans) == 1000
    assert server.largest_request < 4_500_000


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_that_only_a_person_can_mend_is_not_repeated(
    server: LangfuseServer, make_tracer: MakeTracer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail("status", status=status)
    tracer = make_tracer(server)
    for _ in range(3):
        before = tracer.counts.dropped
        query(tracer)
        wait_for(lambda before=before: tracer.counts.dropped == before + 4, what="dropped")  # type: ignore[misc]

    assert server.requests["/api/public/otel/v1/traces"] == 1
    lines = [each.message for each in caplog.records if each.name.startswith("agentic_flywheel")]
    assert len(lines) == 1
    assert f"status {status}: check LANGFUSE_" in lines[0]


def test_a_login_page_is_not_mistaken_for_success(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.fail("web_page")
    tracer = make_tracer(server)
    query(tracer)

    wait_for(lambda: tracer.counts.dropped == 4)
    assert "web page" in tracer.counts.reason


def test_spans_that_the_server_leaves_out_are_counted(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.rejected_names.add("queue-wait")
    tracer = make_tracer(server)
    query(tracer)
    tracer.close()

    assert (tracer.counts.sent, tracer.counts.dropped) == (3, 1)


@pytest.mark.parametrize("kind", ["hanging", "slow", "down"])
def test_whatever_the_server_does_recording_and_closing_stay_short(
    server: LangfuseServer, make_tracer: MakeTracer, kind: str
) -> None:
    if kind == "down":
        server.stop()
    else:
        server.fail(kind)  # type: ignore[arg-type]
    tracer = make_tracer(server)
    began = time.monotonic()
    for _ in range(50):
        query(tracer)
    recorded = time.monotonic()
    if kind != "down":
        wait_for(lambda: server.requests.total() > 0, what="the first batch is on its way")
        recorded = time.monotonic()
    tracer.close(1.0)

    assert recorded - began < 2.0
    assert time.monotonic() - recorded < 1.5
    assert tracer.counts.accepted == 200


def test_a_backlog_is_bounded_by_count(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.fail("hanging")
    tracer = make_tracer(server, trace_queue_limit=100)
    trace = tracer.trace(new_query_id())
    for _ in range(5000):
        trace.observe("step", start=1, end=2)

    counts = tracer.counts
    assert counts.accepted + counts.dropped == 5000
    # One batch may be on its way beside those that wait.
    assert counts.pending <= 100 + 2048


def test_a_backlog_is_bounded_by_bytes(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    server.fail("hanging")
    tracer = make_tracer(server, trace_queue_bytes=1_000_000)
    trace = tracer.trace(new_query_id())
    for number in range(1000):
        trace.observe("step", start=1, end=2, input={"text": f"{number}" + "x" * 10_000})

    counts = tracer.counts
    assert counts.pending_bytes <= 1_000_000
    assert 50 < counts.accepted < 100
    assert counts.dropped == 1000 - counts.accepted


def test_dropped_observations_make_one_line_of_log(
    server: LangfuseServer, make_tracer: MakeTracer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.fail("status", status=400)
    tracer = make_tracer(server)
    for sent in range(1, 4):
        query(tracer)
        wait_for(lambda sent=sent: tracer.counts.dropped == 4 * sent)  # type: ignore[misc]

    lines = [each.message for each in caplog.records if each.name.startswith("agentic_flywheel")]
    assert lines == ["4 trace observations dropped so far: status 400: the server does not understand these spans"]


def test_a_forked_child_sends_what_it_recorded_itself(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server)
    mine = query(tracer)
    child = os.fork()
    if child == 0:
        tracer.trace(mine).observe("from the child", start=1, end=2)
        os._exit(0 if tracer.close(5) else 1)
    _, status = os.waitpid(child, 0)
    tracer.close(5)

    assert status == 0
    assert len(server.trace(mine)) == 5
    assert server.duplicates == []


CHILD = """
import signal, sys, time
from agentic_flywheel.settings import load_settings
from agentic_flywheel.tracing import Tracer

tracer = Tracer.from_settings(load_settings())
trace = tracer.trace(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True:
    trace.observe("step", start=time.time_ns(), end=time.time_ns())
    print(tracer.counts.accepted, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("kind", ["up", "hanging", "down"])
def test_sigterm_loses_nothing_that_can_be_sent_and_waits_for_nothing_else(
    server: LangfuseServer, tmp_path: Path, kind: str
) -> None:
    if kind == "hanging":
        server.fail("hanging")
    elif kind == "down":
        server.stop()
    query_id = new_query_id()
    child = Process([sys.executable, "-c", CHILD, query_id], log=tmp_path / "log", env=server.environment)
    try:
        wait_for(lambda: child.log.count("\n") > 20, what="steps recorded")
        began = time.monotonic()
        child.send(signal.SIGTERM)
        assert child.wait(within=30) == 0
        took = time.monotonic() - began
    finally:
        child.kill()

    assert took < 2.5
    assert "Traceback" not in child.log
    if kind == "up":
        recorded = [line for line in child.log.splitlines() if line.isdigit()]
        assert len(server.trace(query_id)) >= int(recorded[-1])


def test_the_state_of_a_failed_query_is_seen_at_its_root(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server)
    ended = record(State.CANCELLED, reason="asked by its owner")
    tracer.trace(ended.query_id).root(ended)
    tracer.close()

    (root,) = server.roots()
    assert root.attribute("level") == "WARNING"
    assert root.attribute("metadata.state") == "cancelled"
    assert not root.is_error


def test_another_product_can_take_the_spans_elsewhere(server: LangfuseServer, make_tracer: MakeTracer) -> None:
    tracer = make_tracer(server, langfuse_traces_path="/v1/traces")
    query(tracer)

    assert tracer.close()
    assert server.requests == {"/v1/traces": 1}


def test_observations_are_plain_tuples() -> None:
    assert issubclass(Observation, tuple)
