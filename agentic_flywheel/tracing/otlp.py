"""Encode observations as OpenTelemetry spans in protobuf's wire format, with the attributes that Langfuse reads.

Written by hand, because the generated classes need three times the CPU for each span (docs/decisions/otlp-encoder.md)
and this runs in the worker's interpreter. The tests decode it with the generated classes.
Sources: opentelemetry-proto ``trace.proto``; protobuf.dev, "Encoding"; langfuse SDK 5, ``_client/attributes.py``.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from agentic_flywheel.prices import plain
from agentic_flywheel.tracing.observation import Level, Observation, root_span_id, span_and_parent, trace_id
from agentic_flywheel.tracing.sink import Text

#: Finds ``ExportTraceServiceResponse.partial_success.rejected_spans``: a number after a tag, a length and a tag.
_REJECTED = re.compile(rb"\x0a[\x80-\xff]*[\x00-\x7f]\x08([\x80-\xff]*[\x00-\x7f])", re.S)
_INTERNAL_KIND = b"\x30\x01"
_ERROR_STATUS = 2


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


#: Encoded forms of the numbers below 2**14: most lengths.
_SMALL = tuple(_varint(number) for number in range(1 << 14))


def _length(size: int) -> bytes:
    return _SMALL[size] if size < 16384 else _varint(size)


def _field(tag: bytes, data: bytes) -> bytes:
    """Return a length-delimited field; ``tag`` is (number << 3) | 2."""
    return tag + _length(len(data)) + data


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    """Return the field ``key`` of a ``KeyValue`` and the tag of its ``value``."""
    return _field(b"\x0a", name.encode()) + b"\x12"


def _attribute(tag: bytes, name: str, text: str) -> bytes:
    """Return a ``KeyValue`` whose value is a string, as field ``tag`` of its owner."""
    key, value = _key(name), text.encode("utf-8", "replace")
    length = _length(len(value))
    inner = 1 + len(length) + len(value)
    inner_length = _length(inner)
    whole = _length(len(key) + len(inner_length) + inner)
    return b"".join((tag, whole, key, inner_length, b"\x0a", length, value))


@lru_cache(maxsize=4096)
def _recurring(name: str, text: str) -> bytes:
    """Return a cached attribute of a span, for values that many spans share: session, user, type."""
    return _attribute(b"\x4a", name, text)


def _array_attribute(tag: bytes, name: str, texts: Iterable[str]) -> bytes:
    values = b"".join(_field(b"\x0a", _field(b"\x0a", each.encode("utf-8", "replace"))) for each in texts)
    return _field(tag, _key(name) + _field(b"", _field(b"\x2a", values)))


def encode_span(seen: Observation, text: Text, *, constant: bytes = b"") -> bytes:
    """Return a span as field ``spans`` of ``ScopeSpans``.

    ``constant`` are the attributes that every span has, as returned by ``constant_attributes``.
    """
    span_id, parent = span_and_parent(seen)
    name = text(seen.name)
    parts = [b"\x0a\x10", bytes.fromhex(trace_id(seen.query_id)), b"\x12\x08", bytes.fromhex(span_id)]
    if parent is not None:
        parts += (b"\x22\x08", bytes.fromhex(parent))
    parts += (
        _field(b"\x2a", name.encode("utf-8", "replace")),
        _INTERNAL_KIND,
        struct.pack("<BQBQ", 0x39, seen.start, 0x41, max(seen.start, seen.end)),
        constant,
        _recurring("langfuse.observation.type", seen.type),
    )
    if seen.session:
        parts.append(_recurring("session.id", seen.session))
    if seen.user:
        parts.append(_recurring("user.id", seen.user))
    if seen.input is not None:
        parts.append(_attribute(b"\x4a", "langfuse.observation.input", text(seen.input)))
    if seen.output is not None:
        parts.append(_attribute(b"\x4a", "langfuse.observation.output", text(seen.output)))
    if seen.metadata:
        parts += [
            _attribute(b"\x4a", f"langfuse.observation.metadata.{key}", text(value))
            for key, value in seen.metadata.items()
            if value is not None
        ]
    if seen.level or seen.message:
        parts += _status(seen.level, text(seen.message) if seen.message else "")
    if seen.type == "generation":
        parts += _generation(seen)
    if seen.is_root:
        parts.append(_attribute(b"\x4a", "langfuse.trace.name", name))
    if seen.tags:
        parts.append(_array_attribute(b"\x4a", "langfuse.trace.tags", seen.tags))
    if seen.link:
        linked = bytes.fromhex(trace_id(seen.link)), bytes.fromhex(root_span_id(seen.link))
        parts.append(_field(b"\x6a", b"\x0a\x10" + linked[0] + b"\x12\x08" + linked[1]))
    return _field(b"\x12", b"".join(parts))


def _status(level: Level | None, message: str) -> Iterator[bytes]:
    if level:
        yield _recurring("langfuse.observation.level", level)
    if message:
        yield _attribute(b"\x4a", "langfuse.observation.status_message", message)
    if level == "ERROR":
        told = _field(b"\x12", message.encode("utf-8", "replace"))
        yield _field(b"\x7a", told + bytes((0x18, _ERROR_STATUS)))


def _generation(seen: Observation) -> Iterator[bytes]:
    if seen.model:
        yield _recurring("langfuse.observation.model.name", seen.model)
    if seen.usage:
        used = seen.usage
        details = f'{{"input":{used.input_tokens},"output":{used.output_tokens},"total":{used.total_tokens}}}'
        yield _attribute(b"\x4a", "langfuse.observation.usage_details", details)
        # Langfuse counts in US dollars alone; what is in another currency stands in the metadata.
        if used.cost is not None and used.cost.currency == "USD":
            yield _attribute(b"\x4a", "langfuse.observation.cost_details", f'{{"total":{plain(used.cost.amount)}}}')
    if seen.first_token:
        moment = datetime.fromtimestamp(seen.first_token / 1e9, UTC).isoformat()
        yield _attribute(b"\x4a", "langfuse.observation.completion_start_time", f'"{moment}"')


def constant_attributes(values: Mapping[str, str | None]) -> bytes:
    """Return the encoded attributes that every span has."""
    return b"".join(_attribute(b"\x4a", name, text) for name, text in values.items() if text)


def encode_request(spans: Iterable[bytes], *, resource: Mapping[str, str], scope: str, version: str) -> bytes:
    """Return an ``ExportTraceServiceRequest`` with these spans."""
    named = _field(b"\x0a", scope.encode()) + _field(b"\x12", version.encode())
    scope_spans = _field(b"\x0a", named) + b"".join(spans)
    attributes = b"".join(_attribute(b"\x0a", name, text) for name, text in resource.items())
    return _field(b"\x0a", _field(b"\x0a", attributes) + _field(b"\x12", scope_spans))


def rejected_spans(body: bytes, content_type: str) -> int:
    """Return how many spans of an accepted request the server rejected; 0 where its response does not say."""
    if not body:
        return 0
    if "json" in content_type:
        try:
            return int(json.loads(body)["partialSuccess"]["rejectedSpans"])
        except (ValueError, KeyError, TypeError):
            return 0
    found = _REJECTED.match(body)
    return sum((byte & 127) << 7 * place for place, byte in enumerate(found[1])) if found else 0
