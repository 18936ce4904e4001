from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from kombu.utils.json import dumps

from workers.engine.plain_json import read, write


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "räumt auf"], "b": {}},
        [10**30, -0.0, "\x00", "\ud800"],
        json.loads("[" * 300 + "]" * 300),
        {"at": datetime(2026, 1, 2, tzinfo=UTC)},
    ],
)
def test_what_kombu_writes_is_read_as_kombu_reads_it(value: object) -> None:
    assert read(dumps(value).encode()) == value
    assert read(write(value).encode()) == value


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"\xff", b'{"a": 1} x'])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)
