from __future__ import annotations

import uuid

from agentic_flywheel.ids import new_query_id
from agentic_flywheel.tracing import derive_span_id, new_span_id, root_span_id, trace_id
from agentic_flywheel.tracing.observation import sampled, weigh


def test_the_trace_id_is_the_query_id_without_dashes() -> None:
    query_id = str(uuid.uuid4())

    assert trace_id(query_id) == query_id.replace("-", "")


def test_an_id_that_is_no_uuid_still_has_a_trace_id() -> None:
    assert len(bytes.fromhex(trace_id("my own task"))) == 16
    assert trace_id("my own task") == trace_id("my own task")


def test_a_span_id_derived_in_two_processes_is_the_same() -> None:
    query_id = str(uuid.uuid4())

    assert derive_span_id(query_id, "attempt", 2) == derive_span_id(query_id.replace("-", ""), "attempt", "2")
    assert len({derive_span_id(query_id, "attempt", n) for n in range(3)} | {root_span_id(query_id)}) == 4
    assert len(bytes.fromhex(root_span_id(query_id))) == 8


def test_new_span_ids_differ() -> None:
    assert len({new_span_id() for _ in range(100)}) == 100


def test_sampling_keeps_the_share_even_where_one_producer_made_all_ids() -> None:
    ids = [new_query_id("00000000") for _ in range(4000)]

    kept = [each for each in ids if sampled(each, 0.25)]

    assert 0.2 < len(kept) / len(ids) < 0.3
    assert kept == [each for each in kept if sampled(str(uuid.UUID(each)), 0.25)]
    assert all(sampled(each, 1.0) for each in ids)
    assert not any(sampled(each, 0.0) for each in ids)


def test_weight_counts_what_lies_deep_inside() -> None:
    assert weigh({"a": [{"b": "x" * 1000}]}) > 1000
    assert weigh(None) < 100
