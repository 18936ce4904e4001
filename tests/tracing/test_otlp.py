"""The spans written by hand are read with the generated protobuf classes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from agentic_flywheel.models import Cost, Usage
from agentic_flywheel.tracing import Observation, root_span_id, trace_id
from agentic_flywheel.tracing.otlp import constant_attributes, encode_request, encode_span, rejected_spans
from agentic_flywheel.tracing.text import as_text

QUERY_ID = "0123456789abcdef0123456789abcdef"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
times = st.integers(min_value=1, max_value=2**63)


def decoded(seen: Observation, constant: dict[str, str | None]) -> Any:
    body = encode_request(
        [encode_span(seen, as_text, constant=constant_attributes(constant))],
        resource={"service.name": "x"},
        scope="s",
        version="1",
    )
    message = ExportTraceServiceRequest.FromString(body)
    (resource,) = message.resource_spans
    assert [(each.key, each.value.string_value) for each in resource.resource.attributes] == [("service.name", "x")]
    (scope,) = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("s", "1")
    (span,) = scope.spans
    assert not UnknownFieldSet(message)
    assert not UnknownFieldSet(span)
    return span


@given(texts, texts, times, times, st.dictionaries(texts.filter(bool), texts, max_size=5), st.lists(texts.filter(bool)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_encoded_is_decoded(
    name: str, text: str, start: int, end: int, metadata: dict[str, str], tags: list[str]
) -> None:
    seen = Observation(
        QUERY_ID,
        name,
        "generation",
        start,
        end,
        span_id="00000000000000ff",
        parent=root_span_id(QUERY_ID),
        input=text,
        output=text * 60,
        metadata=metadata,
        level="ERROR",
        message=text,
        tags=tuple(tags),
    )

    span = decoded(seen, {"langfuse.environment": "test", "langfuse.release": None})

    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        QUERY_ID,
        "00000000000000ff",
        root_span_id(QUERY_ID),
    )
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == (name, start, max(start, end))
    assert (span.status.code, span.status.message) == (2, text)
    values = {each.key: each.value for each in span.attributes}
    assert values["langfuse.environment"].string_value == "test"
    assert "langfuse.release" not in values
    assert values["langfuse.observation.input"].string_value == text
    assert values["langfuse.observation.output"].string_value == text * 60
    for key, value in metadata.items():
        assert values[f"langfuse.observation.metadata.{key}"].string_value == value
    if tags:
        assert [each.string_value for each in values["langfuse.trace.tags"].array_value.values] == tags


def test_a_generation_carries_model_usage_first_token_and_link() -> None:
    seen = Observation(
        QUERY_ID,
        "flow-execution",
        "generation",
        1,
        2,
        span_id="00000000000000ff",
        model="a-model",
        usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7, cost=Cost(amount=Decimal("4E-7"), currency="USD")),
        first_token=1_700_000_000_123_000_000,
        link="another query",
    )

    span = decoded(seen, {})

    values = {each.key: each.value.string_value for each in span.attributes}
    assert values["langfuse.observation.model.name"] == "a-model"
    assert json.loads(values["langfuse.observation.usage_details"]) == {"input": 3, "output": 4, "total": 7}
    assert values["langfuse.observation.cost_details"] == '{"total":0.0000004}'
    assert json.loads(values["langfuse.observation.completion_start_time"]) == "2023-11-14T22:13:20.123000+00:00"
    assert [each.trace_id.hex() for each in span.links] == [trace_id("another query")]
    assert span.status.code == 0


def test_lone_surrogates_do_not_stop_a_trace() -> None:
    span = decoded(Observation(QUERY_ID, "a\ud800", "span", 1, 2, span_id="00" * 8, input="b\udfff"), {})

    assert span.name == "a?"


def test_spans_that_the_server_left_out_are_counted() -> None:
    answer = ExportTraceServiceResponse()
    for number in (0, 3, 70_000):
        answer.partial_success.rejected_spans = number
        for message in ("", "x" * 300):
            answer.partial_success.error_message = message
            assert rejected_spans(answer.SerializeToString(), "application/x-protobuf") == number
    assert rejected_spans(b'{"partialSuccess": {"rejectedSpans": "2"}}', "application/json") == 2
    assert rejected_spans(b"{}", "application/json") == 0
    assert rejected_spans(b"", "") == 0
    assert rejected_spans(b"not json", "application/json") == 0
    assert rejected_spans(b"\xff\xff", "application/x-protobuf") == 0
