"""For how long a server asks to be left alone, in all the ways in which servers say so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiohttp import web

from agentic_flywheel.backends.pauses import pause_of_answer, pause_of_refusal
from agentic_flywheel.pause_headers import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("12ms", 0.012),
        ("7s", 7),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("1m", 60),
        ("0s", 0),
        ("", None),
        (None, None),
        ("soon", None),
        ("7 s", None),
        ("s7", None),
        ("-1", None),
        # Points in time, of which nobody knows the unit.
        ("1795901593", None),
        ("1795901593000", None),
        ("2026-11-30T12:00:00Z", None),
    ],
)
def test_a_duration_is_read_in_every_form(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"Retry-After": "7"}, 7),
        ({"retry-after-ms": "2500", "Retry-After": "3"}, 2.5),
        ({"llm_provider-retry-after": "7", "llm_provider-retry-after-ms": "7000"}, 7),
        ({"llm_provider-retry-after": "9"}, 9),
        ({"Retry-After": "86400"}, 3600),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "-1"}, 1),
        ({"Retry-After": "1m30s"}, 90),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 1),
        ({"Retry-After": "Fri, 06 Nov 9998 08:49:37 GMT"}, 3600),
        # No duration, and no date.
        *(({"Retry-After": odd}, 60) for odd in ("-", "1e12", "1000000000000", "soon", "", "nan", "²")),
        *(({"Retry-After": f"Sun, {'9' * n} Nov {'9' * n} 08:49:37 GMT"}, 60) for n in (3, 30)),
        ({"retry-after-ms": "1"}, 1),
        ({"retry-after-ms": "0.001"}, 1),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "6m0s"}, 60),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-reset-tokens": "20",
            },
            20,
        ),
        ({"x-ratelimit-remaining-requests": "0", "llm_provider-x-ratelimit-reset-requests": "7s"}, 7),
    ],
)
def test_a_refusal_says_when_to_come_again(headers: dict[str, str], seconds: float) -> None:
    assert pause_of_refusal(web.Response(headers=headers).headers) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, 0),
        ({"x-ratelimit-remaining-requests": "0"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "8s"}, 8),
        # Of sixty calls a minute, the next one is there after a second.
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "60s",
            },
            1,
        ),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "900h"}, 3600),
        # Azure has sent limits that let nothing through, with answers.
        *(
            (
                {
                    "x-ratelimit-limit-requests": limit,
                    "x-ratelimit-remaining-requests": limit,
                    "x-ratelimit-reset-requests": "900h",
                },
                0,
            )
            for limit in ("0", "-1")
        ),
        # Tokens are never used up to the last one: it is not known how many the next call needs.
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "8s"}, 0),
    ],
)
def test_an_answer_says_when_its_limit_is_used_up(headers: dict[str, str], seconds: float) -> None:
    assert pause_of_answer(web.Response(headers=headers).headers) == timedelta(seconds=seconds)
