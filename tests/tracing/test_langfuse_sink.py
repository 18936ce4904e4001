from __future__ import annotations

from datetime import UTC, datetime

import pytest
from urllib3 import HTTPHeaderDict

from agentic_flywheel.tracing.langfuse_sink import PAUSE, judge
from agentic_flywheel.tracing.sink import ATTEMPTS, LONGEST_WAIT, next_wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (200, {}, "delivered", None),
        (207, {}, "delivered", None),
        (200, {"Content-Type": "text/html; charset=utf-8"}, "refused", PAUSE),
        (302, {}, "refused", PAUSE),
        (400, {}, "refused", None),
        (401, {}, "refused", PAUSE),
        (403, {}, "refused", PAUSE),
        (404, {}, "refused", PAUSE),
        (408, {}, "again", None),
        (413, {}, "too_large", None),
        (429, {"Retry-After": "7"}, "again", 7.0),
        (429, {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, "again", 37.0),
        (503, {"Retry-After": "soon"}, "again", None),
        (503, {"Retry-After": "²"}, "again", None),
        (503, {"Retry-After": f"Sun, 06 Nov {'9' * 30} 08:49:37 GMT"}, "again", None),
        (500, {}, "again", None),
    ],
)
def test_an_answer_says_what_to_do_with_the_batch(
    status: int, headers: dict[str, str], kind: str, wait: float | None
) -> None:
    outcome = judge(status, HTTPHeaderDict(headers), now=datetime(1994, 11, 6, 8, 49, tzinfo=UTC))

    assert (outcome.kind, outcome.wait) == (kind, wait)


def test_waits_grow_and_end() -> None:
    waits = [next_wait(attempt, None) for attempt in range(1, ATTEMPTS + 1)]

    assert waits == [0.5, 1, 2, 4, 8, 16, 30, None]
    assert next_wait(1, 3.0) == 3.0
    assert [next_wait(attempt, 0.0) for attempt in range(1, ATTEMPTS + 1)] == waits
    assert next_wait(1, 3600.0) == LONGEST_WAIT
