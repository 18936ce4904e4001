"""Failures get their names from code, type and words, wherever a server puts them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.openai.failure import failure_of
from agentic_flywheel.errors import (
    ContentFiltered,
    FlowError,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    PromptTooLong,
    ProviderUnavailable,
    QuotaUsedUp,
    ServerUnreachable,
)
from backends.openai.recorded import flow

JSON, HTML = "application/json", "text/html"


def named(status: int, body: Any, kind: str = JSON, headers: dict[str, str] | None = None) -> FlowError:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return failure_of(flow(), Failed(status, kind, headers or {}, raw), ["s3cret-key"])


def error(message: str, kind: str | None = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # Groq, OpenRouter
        (413, error("Request too large for m: Limit 6, Requested 9", "tokens", "rate_limit_exceeded"), PromptTooLong),
        (403, {"error": {"code": 403, "message": "m requires moderation. Your input was flagged."}}, ContentFiltered),
        # OpenAI
        (429, error("Request too large for m: Limit 6, Requested 9", "tokens", "rate_limit_exceeded"), PromptTooLong),
        (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), QuotaUsedUp),
        (429, error("Rate limit reached for m in organization o", "requests", "rate_limit_exceeded"), FlowRateLimited),
        (400, error("Billing hard limit has been reached", None, "billing_hard_limit_reached"), QuotaUsedUp),
        (401, error("Incorrect API key provided: sk-***", None, "invalid_api_key"), FlowUnauthorized),
        (403, error("Country not supported", None, "unsupported_country_region_territory"), FlowUnauthorized),
        (400, error("too long", "invalid_request_error", "context_length_exceeded"), PromptTooLong),
        (400, error("Rejected", None, "content_policy_violation"), ContentFiltered),
        (404, error("The model `x` does not exist", None, "model_not_found"), FlowNotFound),
        (403, error("Project `p` has no access to model `x`", None, "model_not_found"), FlowUnauthorized),
        (400, error("Unsupported value: 'temperature'", "invalid_request_error", "unsupported_value"), FlowRefused),
        (500, error("The server had an error", "server_error"), ProviderUnavailable),
        (503, error("overloaded", "server_error"), ProviderUnavailable),
        # Azure
        (404, error("The API deployment does not exist.", None, "DeploymentNotFound"), FlowNotFound),
        (400, error("The response was filtered", None, "content_filter"), ContentFiltered),
        # vLLM: codes are whole numbers, and older ones have no `error`
        (404, error("The model `x` does not exist.", "NotFoundError", 404), FlowNotFound),
        (400, error("maximum context length is 10 tokens", "BadRequestError", 400), PromptTooLong),
        (400, {"object": "error", "message": "maximum context length is 10", "code": 400}, PromptTooLong),
        # Ollama: no codes at all, and a text
        (404, error('model "x" not found, try pulling it first', "not_found_error"), FlowNotFound),
        (404, {"error": "model 'x' not found"}, FlowNotFound),
        (500, error("llama runner process has terminated", "api_error"), ProviderUnavailable),
        # llama.cpp
        (400, error("the request exceeds the context", "exceed_context_size_error", 400), PromptTooLong),
        # Gemini: a list
        (400, [{"error": {"code": 400, "message": "API key not valid."}}], FlowUnauthorized),
        (429, [{"error": {"code": 429, "message": "Resource exhausted"}}], FlowRateLimited),
        # Others
        (402, error("Insufficient Balance", None, "invalid_request_error"), QuotaUsedUp),
        (400, error("API key not valid. Please pass a valid API key."), FlowUnauthorized),
        (400, {"message": "no such field"}, FlowRefused),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, FlowRefused),
        (408, error("Request timed out."), ProviderUnavailable),
        (529, error("Overloaded", "overloaded_error"), ProviderUnavailable),
        (405, {"detail": "Method Not Allowed"}, FlowProtocolError),
        # The question is quoted: code and type say more than it.
        (429, error("Rate limit: 'insufficient_quota'", "requests", "rate_limit_exceeded"), FlowRateLimited),
    ],
)
def test_a_failure_is_named_by_what_the_server_says(status: int, body: Any, kind: type[FlowError]) -> None:
    assert type(named(status, body)) is kind


@pytest.mark.parametrize(
    ("status", "body", "content_type", "kind", "words"),
    [
        (200, "<html>Sign in</html>", HTML, FlowProtocolError, "status 200 with text/html that is no answer"),
        (401, "Unauthorized", "text/plain", FlowUnauthorized, "was refused: Unauthorized"),
        (403, "", "", FlowUnauthorized, "status 403"),
        (429, "slow down", "text/plain", FlowRateLimited, "asks to wait 60 s"),
        (502, "<html>502 Bad Gateway</html>", HTML, ServerUnreachable, "it answered with status 502"),
        (503, "<html></html>", HTML, ServerUnreachable, "it answered with status 503"),
        (504, "", "", ServerUnreachable, "it answered with status 504"),
        (408, "", HTML, ServerUnreachable, "it answered with status 408"),
        (524, "<html>A timeout occurred</html>", HTML, ServerUnreachable, "it answered with status 524"),
        (400, "unknown field: foo", "text/plain", FlowRefused, "unknown field: foo"),
        (413, "<html>413 Request Entity Too Large</html>", HTML, FlowRefused, "status 413"),
        (404, "404 page not found", "text/plain", FlowProtocolError, "status 404 with text/plain"),
        (500, "Internal Server Error", "text/plain", ProviderUnavailable, "Internal Server Error"),
        (500, "<html></html>", HTML, ProviderUnavailable, "status 500"),
        (600, "", "", FlowProtocolError, "status 600"),
        (301, "", HTML, FlowProtocolError, "status 301"),
    ],
)
def test_what_is_no_error_of_such_a_server_is_named_by_its_status(
    status: int, body: str, content_type: str, kind: type[FlowError], words: str
) -> None:
    failed = named(status, body, content_type)

    assert type(failed) is kind
    assert words in failed.message
    assert "<html" not in failed.message


@pytest.mark.parametrize("body", ["", "<html></html>", error("Loading model")])
def test_a_server_that_names_a_pause_is_asked_after_it(body: Any) -> None:
    failed = named(503, body, headers={"retry-after": "9"})

    assert (type(failed), failed.retry_after) == (FlowRateLimited, 9)


@pytest.mark.parametrize("code", ["insufficient_quota", "context_length_exceeded", "content_filter", "invalid_api_key"])
def test_what_a_repetition_does_not_change_is_not_repeated(code: str) -> None:
    failed = named(400, error("no", None, code))

    assert (failed.transient, failed.retry_after) == (False, 0)


def test_a_reason_quotes_no_secret_and_no_more_than_a_line() -> None:
    failed = named(400, error("the key s3cret-key, sk-proj-abcdefgh\n\n" + "x" * 5000))

    assert "s3cret" not in failed.message
    assert "abcdefgh" not in failed.message
    assert "\n" not in failed.message
    assert len(failed.message) < 400


def test_a_failure_says_which_model_is_not_there() -> None:
    failed = named(404, error("The model `m-1` does not exist", None, "model_not_found"))

    assert isinstance(failed, FlowNotFound)
    assert failed.flow_id == "m-1"
