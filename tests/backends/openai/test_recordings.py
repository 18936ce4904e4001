"""What a LiteLLM proxy was recorded to answer is read as what it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agentic_flywheel.backends import FlowNews, ListedFlow
from agentic_flywheel.errors import (
    ContentFiltered,
    FlowError,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowUnauthorized,
    PromptTooLong,
    ProviderUnavailable,
    QuotaUsedUp,
)
from agentic_flywheel.models import EventKind
from backends.openai.recorded import KEY, RECORDED, answer, failure, flow, playing, scene, texts

#: The text, the tokens in all, and a part of each warning.
ANSWERS: dict[str, tuple[str, int | None, list[str]]] = {
    "mock": ("one two three four five", 30, []),
    "mock_stream": ("one two three four five", None, []),
    "up": ("echo: one two three", 7, []),
    "up_stream": ("echo: one two three", None, []),
    "up_stream_usage": ("echo: one two three", 7, []),
    "up_json": ('{"echo": "one two three"}', 7, []),
    # The upstream sent none: plain, all are nought; streamed, the proxy estimates.
    "up_nousage": ("echo: one two three", None, []),
    "up_filterout": ("echo: one two three", 7, ["content filter cut"]),
    "up_filterout_stream": ("echo: one two three", None, ["content filter cut"]),
    "up_length": ("echo: one two three", 7, ["is cut: the flow's limit of tokens"]),
    "up_tool": ("", 4, ["asked for tools, which nobody has run here: calc"]),
    "up_tool_stream": ("", 4, ["asked for tools, which nobody has run here: calc"]),
    "mock_tools": ("", 30, ["asked for tools, which nobody has run here: calc"]),
}
#: The error, and a part of what it says.
FAILURES: dict[str, tuple[type[FlowError], str]] = {
    "up_401": (FlowUnauthorized, "Incorrect API key provided:***"),
    "err_no_key": (FlowUnauthorized, "No api key passed in."),
    # Of a proxy without a database: status 400.
    "err_wrong_key": (FlowUnauthorized, "No connected db."),
    "up_429": (FlowRateLimited, "asks to wait 7 s"),
    "mock_limited_1": (FlowRateLimited, "asks to wait 60 s"),
    "up_quota": (QuotaUsedUp, "exceeded your current quota, please check your plan and billing details."),
    "up_500": (ProviderUnavailable, "The server had an error while processing your request."),
    "up_503": (ProviderUnavailable, "The engine is currently overloaded"),
    "up_html": (ProviderUnavailable, "Error code: 502"),
    "up_down": (ProviderUnavailable, "Connection error."),
    "up_timeout": (ProviderUnavailable, "Request timed out."),
    "mock_streamerr": (ProviderUnavailable, "mock error raised mid-stream"),
    "up_errmid_stream": (ProviderUnavailable, "The server had an error while processing your request"),
    "up_drop_stream": (ProviderUnavailable, "Connection error."),
    "up_ctx": (PromptTooLong, "This model's maximum context length is 8192 tokens."),
    "mock_ctx": (PromptTooLong, "mock context window exceeded"),
    "up_filter": (ContentFiltered, "triggering our content management policy"),
    "mock_filter": (ContentFiltered, "content_filter_policy"),
    "err_unknown_model": (FlowNotFound, "'m-1'"),
    "err_wrong_path": (
        FlowProtocolError,
        "status 404: Not Found; an address mostly ends in /v1",
    ),
}
OTHERS = {"models", "models_nokey"}


def test_every_recording_has_an_expectation() -> None:
    assert RECORDED.keys() == ANSWERS.keys() | FAILURES.keys() | OTHERS


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_recorded_answer_is_read(name: str) -> None:
    text, tokens, warnings = ANSWERS[name]
    told: list[FlowNews] = []
    streamed = "chunks" in RECORDED[name]

    found = await answer(scene(name), stream=streamed, told=told)

    assert found.text == text
    assert (found.usage and found.usage.total_tokens) == tokens
    assert len(found.warnings) == len(warnings)
    assert all(part in said for part, said in zip(warnings, found.warnings, strict=True))
    assert "".join(texts(told)) == (text if streamed else "")
    assert (found.first_token is not None) is (streamed and bool(text))
    assert found.message_id
    assert found.message_id.startswith("chatcmpl-")
    if found.usage is not None:
        assert found.usage.model == (RECORDED[name].get("json") or {"model": found.usage.model})["model"]


@pytest.mark.parametrize("name", ["up_tool", "up_tool_stream", "mock_tools"])
async def test_tools_that_are_asked_for_are_reported_and_given_to_whoever_runs_them(name: str) -> None:
    told: list[FlowNews] = []

    found = await answer(scene(name), stream="chunks" in RECORDED[name], told=told)

    (tool,) = found.tools
    assert (tool.name, tool.input) == ("calc", {"input": "6*7"})
    assert found.data is not None
    (call,) = _calls(found.data)
    assert (call["name"], call["arguments"]) == ("calc", '{"input":"6*7"}')
    news = [each.data for each in told if each.kind is EventKind.TOOL]
    assert news == ([{"name": "calc", "step": "", "input": {"input": "6*7"}, "status": "finished"}] if told else [])


def _calls(data: dict[str, Any]) -> list[dict[str, str]]:
    return list(data["tool_calls"])


@pytest.mark.parametrize("name", FAILURES)
async def test_a_recorded_failure_has_its_name(name: str) -> None:
    kind, words = FAILURES[name]

    failed = await failure(scene(name), stream="chunks" in RECORDED[name])

    assert type(failed) is kind
    assert words in failed.message
    assert "OpenAIException" not in failed.message
    assert len(failed.recovery_suggestions) >= 3


async def test_a_quota_that_is_used_up_is_not_waited_for() -> None:
    quota, limit = await failure(scene("up_quota")), await failure(scene("up_429"))

    assert (quota.transient, quota.retry_after) == (False, 0)
    assert (limit.transient, limit.retry_after) == (True, 7)


async def test_models_are_listed_and_those_that_answer_no_questions_are_told() -> None:
    async with playing(scene("models")) as (backend, server):
        listed = await backend.list_flows(api_key=KEY)
        probed = await backend.probe(flow(model="of-a-pattern"), api_key=KEY)

    assert listed[0] == ListedFlow("mock")
    assert [each for each in listed if each.unusable] == [ListedFlow("mock-embed", "", "it is a model for embedding")]
    assert timedelta() < probed.elapsed
    assert {(each.method, each.path) for each in server.asked} == {("GET", "/v1/models")}
    assert {each.headers["authorization"] for each in server.asked} == {"Bearer sk-master"}


@pytest.mark.parametrize(
    ("model", "problems", "remarks"),
    [
        ("mock", (), ()),
        ("mock-embed", ("it is a model for embedding",), ()),
        ("mok", (), ("the server does not list the model 'mok'; it lists 9, such as mock",)),
        (
            "up-fake",  # it answers nevertheless: the proxy takes a pattern that it does not list
            (),
            ("the server does not list the model 'up-fake'; it lists 9, such as mock, mock-429, mock-500",),
        ),
    ],
)
async def test_a_model_that_is_not_listed_is_remarked_since_it_may_answer(
    model: str, problems: tuple[str, ...], remarks: tuple[str, ...]
) -> None:
    async with playing(scene("models")) as (backend, _):
        report = await backend.examine(flow(model=model), api_key=KEY)

    assert (report.problems, report.remarks, report.streams) == (problems, remarks, True)
    assert report.key == "accepted"


async def test_a_server_that_cannot_be_asked_is_a_problem_of_the_flow() -> None:
    async with playing(scene("models_nokey")) as (backend, _):
        report = await backend.examine(flow())
        refused = await backend.examine(flow(), api_key=KEY)

    assert (report.key, refused.key) == ("missing", "refused")
    assert report.problems == ("The key for flow 'f' was refused: Authentication Error, No api key passed in.",)


async def test_a_server_that_lists_no_models_may_have_one() -> None:
    async with playing(scene("err_wrong_path")) as (backend, _):
        report = await backend.examine(flow(), api_key=KEY)

    assert report.problems == ()
    (remark,) = report.remarks
    assert remark.startswith("the server does not list its models: status 404: Not Found")


async def test_a_server_that_takes_no_key_says_so_when_it_is_probed() -> None:
    async with playing(scene("models_nokey")) as (backend, _):
        with pytest.raises(FlowUnauthorized, match="No api key passed in"):
            await backend.probe()
