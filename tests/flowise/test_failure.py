"""Failures get their names from status, content type and message; their reasons hold nothing that must not be shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.flowise.failure import failure_of, failure_of_message
from agentic_flywheel.backends.pauses import seconds_to_wait
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    ProviderUnavailable,
    ServerUnreachable,
)

JSON, HTML = "application/json", "text/html"

FLOW = Flow(key="f", id="id", domain="d")


def named(message: str) -> FlowError:
    return failure_of_message("f", "id", message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Error: predictionsServices.buildChatflow - Unauthorized", FlowUnauthorized),
        ("Error in Agent node: 401 Incorrect API key provided: sk-abc", FlowUnauthorized),
        ("Error in LLM node: 503 Service Unavailable", ProviderUnavailable),
        ("Error in LLM node: 529 Overloaded", ProviderUnavailable),
        ("Error: predictionsServices.buildChatflow - connect ECONNREFUSED 127.0.0.1:11434", ProviderUnavailable),
        ("Error in HTTP node: Request failed with status code 502", ProviderUnavailable),
        ("fetch failed", ProviderUnavailable),
        ("Error in LLM node: 400 This model's maximum context length is 8192 tokens", FlowFailed),
        # A custom function's own words may look like anything.
        ("Error: NodeVM Execution Error: Error: 429 Unauthorized ECONNRESET", FlowFailed),
        ("Error: NodeVM Execution Error: Chatflow x not found", FlowFailed),
        ("we found 500 results", FlowFailed),
        ("", FlowFailed),
    ],
)
def test_a_message_names_its_failure(message: str, expected: type[FlowError]) -> None:
    assert type(named(message)) is expected


@pytest.mark.parametrize(
    ("message", "said", "first"),
    [
        (
            "Error: predictionsServices.buildChatflow - Unauthorized",
            "The key for flow 'f' was refused",
            "FLOWISE_API_KEY",
        ),
        (
            "401 Unauthorized – check your API key and ensure it has access to the requested model.",
            "The provider",
            "inside",
        ),
        (
            "Error in LLM node: 401 Incorrect API key provided: sk-abc",
            "The provider behind flow 'f'",
            "inside the flow",
        ),
    ],
)
def test_whose_key_was_refused_is_said(message: str, said: str, first: str) -> None:
    refused = named(message)

    assert refused.message.startswith(said)
    assert first in refused.recovery_suggestions[0]


@pytest.mark.parametrize(
    ("status", "content_type", "body", "expected"),
    [
        (200, HTML, b"<!doctype html><html>Flowise</html>", FlowProtocolError),
        (302, HTML, b"", FlowProtocolError),
        (404, HTML, b"<html>nginx</html>", FlowProtocolError),
        (404, JSON, b'{"detail":"Not Found"}', FlowProtocolError),
        (404, JSON, b'{"message":"Chatflow 1 not found in the database!"}', FlowNotFound),
        (400, JSON, b'{"message":"Invalid Chatflow ID"}', FlowNotFound),
        (413, JSON, b'{"message":"request entity too large"}', FlowRefused),
        (429, HTML, b"slow", FlowRateLimited),
        (429, JSON, b'{"message":"slow"}', FlowRateLimited),
        (401, JSON, b'{"error":"Unauthorized Access"}', FlowUnauthorized),
        (403, HTML, b"<html>" + b"x" * 999, FlowUnauthorized),
        (500, HTML, b"<html>Internal Server Error</html>", FlowProtocolError),
        (500, JSON, b"not json", FlowProtocolError),
        (500, JSON, b"[1]", FlowProtocolError),
        (502, HTML, b"<html>bad gateway</html>", ServerUnreachable),
        (504, JSON, b'{"message":"timeout"}', ServerUnreachable),
        (200, JSON, b'{"error":"odd"}', FlowProtocolError),
    ],
)
def test_a_response_names_its_failure(status: int, content_type: str, body: bytes, expected: type[FlowError]) -> None:
    failure = failure_of(FLOW, Failed(status, content_type, {}, body))

    assert type(failure) is expected
    assert "<html" not in failure.message


def test_a_reason_is_one_short_line_without_control_characters() -> None:
    reason = clean("boom\n\x1b[31m\u202ered\x00  " + "x" * 5000)

    assert reason.startswith("boom [31m red xxx")
    assert len(reason) == 300


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-Abc_123-xyz", "AIzaSyD-1234567", "ghp_abcdef123456", "gsk_live12345", "sk-ab****************yz"],
)
def test_a_providers_key_never_reaches_a_reason(secret: str) -> None:
    assert secret not in clean(f"Incorrect API key provided: {secret}. You can find")
    assert secret not in clean(f"401 from https://user:{secret}@api.example/v1 with Authorization: Bearer {secret}")
    assert secret not in named(f"Error in LLM node: 401 Incorrect API key provided: {secret}").message


def test_our_own_key_never_reaches_a_reason() -> None:
    failure = failure_of_message("f", "id", "the key lGPq1HH is not bound", secrets=["lGPq1HH"])

    assert failure.message == "The flow 'f' failed: the key *** is not bound"


def test_ordinary_words_are_no_keys() -> None:
    text = "401 Unauthorized – check your API key and ensure it has access; skipped pk and hf models"

    assert clean(text) == text


def test_retry_after_is_seconds_or_a_date_and_never_absurd() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert seconds_to_wait("54") == 54
    assert 27 < seconds_to_wait(soon) <= 30
    assert seconds_to_wait(None) == seconds_to_wait("soon") == seconds_to_wait("nan") == seconds_to_wait("1e12") == 60
    assert seconds_to_wait("0") == seconds_to_wait("-5") == 1
    assert seconds_to_wait("86400") == 3600
