"""What arguments mean however clients write them, and results that are too long for a model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bridge_house import BridgeHouse, Raw, error_of
from mcp import Client

from mcp_bridge.batches import BatchItem, BatchView
from mcp_bridge.bridge import Bridge
from mcp_bridge.budget import fit
from mcp_bridge.server import build_server
from mcp_bridge.views import QueryView

DEEP = "[" * 5000


async def test_an_empty_text_and_null_mean_that_an_argument_is_left_out(alice: Client) -> None:
    plain = await alice.call_tool("flowise_query", {"question": "Which clause covers liability?"})
    for nothing in ("", "null", " ", None):
        names = ("flow_override", "intent", "profile", "session_id", "reroute_of", "config", "cache", "timeout_s")
        given = {"question": "Which clause covers liability?", **dict.fromkeys(names, nothing)}
        result = await alice.call_tool("flowise_query", given)
        assert not result.is_error, (nothing, result.content)
        assert (result.structured_content or {})["flow_key"] == (plain.structured_content or {})["flow_key"]


async def test_a_question_of_null_is_none_because_a_form_may_stand_in_its_place(alice: Client) -> None:
    result = await alice.call_tool("flowise_query", {"question": "null", "flow_override": "slow"})

    assert result.is_error
    assert "question" in str(result.content)


async def test_a_session_id_that_looks_like_json_stays_one(alice: Client) -> None:
    asked = await alice.call_tool("flowise_query", {"question": "?", "flow_override": "slow", "session_id": "[1]"})

    assert (asked.structured_content or {})["session_id"] == "[1]"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("flowise_query", {"question": "?", "config": DEEP}),
        ("flowise_query", {"question": "?", "config": '{"a": ' + "[" * 40 + "]" * 40 + "}"}),
        ("flowise_query", {"question": "?", "config": {"a": nested(40)}}),
        ("flowise_batch", {"questions": DEEP}),
        ("flowise_batch", {"questions": [nested(60)]}),
    ],
    ids=["open", "text", "object", "questions", "list"],
)
async def test_what_is_nested_too_deep_is_named(alice: Client, tool: str, arguments: dict[str, Any]) -> None:
    error = error_of(await alice.call_tool(tool, arguments))

    assert error["error_type"] == "InvalidQuery"
    assert "config" in error["error"] or "questions" in error["error"]


async def test_a_body_that_is_nested_too_deep_is_refused(raw: Raw, bridge_house: BridgeHouse) -> None:
    headers = {"Content-Type": "application/json"}
    response = await raw.http.post(bridge_house.url, content=DEEP + "]" * 5000, headers=headers)

    assert response.status_code == 400


async def test_a_long_answer_is_read_in_pieces_and_whole(bridge_house: BridgeHouse) -> None:
    settings = bridge_house.settings.model_copy(update={"mcp_result_limit": 300})
    async with Client(build_server(Bridge(settings))) as client:
        asked = await client.call_tool("flowise_query", {"question": "at length", "flow_override": "slow"})
        first = dict(asked.structured_content or {})
        pieces = [first]
        while "answer_next" in pieces[-1]:
            more = {"query_id": first["query_id"], "answer_from": pieces[-1]["answer_next"]}
            pieces.append(dict((await client.call_tool("flowise_poll", more)).structured_content or {}))
        read = await client.read_resource(f"flowise://query/{first['query_id']}")

    whole = json.loads(read.contents[0].text)["answer"]["text"]  # type: ignore[union-attr]
    assert len(pieces) >= 2
    assert "answer" in first["left_out"]
    assert f"flowise://query/{first['query_id']}" in asked.content[0].text  # type: ignore[union-attr]
    assert "".join(piece["answer"].removesuffix("…") for piece in pieces) == whole


async def test_a_long_batch_comes_in_pages_and_whole(bridge_house: BridgeHouse) -> None:
    settings = bridge_house.settings.model_copy(update={"mcp_result_limit": 2_000})
    questions = [f"Number {number}: {'why ' * 30}?" for number in range(12)]
    async with Client(build_server(Bridge(settings))) as client:
        started = await client.call_tool("flowise_batch", {"questions": questions, "wait_s": 40})
        pages = [dict(started.structured_content or {})]
        while (cursor := pages[-1].get("next_cursor")) is not None:
            follow = {"batch_id": pages[0]["batch_id"], "cursor": cursor, "wait_s": 0}
            pages.append(dict((await client.call_tool("flowise_batch", follow)).structured_content or {}))
        read = await client.read_resource(f"flowise://batch/{pages[0]['batch_id']}")

    seen = [item["query_id"] for page in pages for item in page["items"]]
    assert len(pages) > 2
    assert all(len(json.dumps(page)) <= 2_400 for page in pages)
    assert "cursor=" in pages[0]["next_step"]
    assert seen == [item["query_id"] for item in json.loads(read.contents[0].text)["items"]]  # type: ignore[union-attr]


def test_a_batch_has_at_least_one_item_in_a_page() -> None:
    items = tuple(BatchItem(question="?", answer="x" * 5000) for _ in range(3))
    view = BatchView(batch_id="b", done=True, total=3, succeeded=3, failed=0, under_way=0, items=items)

    pages = [view.page(cursor, 2_000) for cursor in range(3)]

    assert [(len(page.items), page.next_cursor) for page in pages] == [(1, 1), (1, 2), (1, None)]


def test_twenty_long_sources_are_cut_to_what_a_model_can_take() -> None:
    sources = tuple({"pageContent": "x" * 8_000, "metadata": {"source": f"{each}.pdf"}} for each in range(20))
    view = QueryView(query_id="q", trace_id="q", state="succeeded", done=True, answer="Yes.", sources=sources)

    cut = fit(view.model_dump(mode="json", exclude_none=True), 20_000, view.rest)

    assert len(json.dumps(cut)) <= 20_400
    assert [source["metadata"]["source"] for source in cut["sources"]] == [f"{each}.pdf" for each in range(20)]
    assert (cut["answer"], cut["left_out"]) == ("Yes.", ["sources"])
    assert "flowise://query/q" in cut["rest"]


def test_whatever_a_flow_returns_is_cut() -> None:
    wide = {f"field-{each}": ["x" * 50] * 50 for each in range(2_000)}

    cut = fit({"query_id": "q", "data": wide}, 2_000, "elsewhere")

    assert len(json.dumps(cut)) <= 2_400
    assert cut["left_out"] == ["data"]


def test_what_fits_is_left_alone() -> None:
    value = {"answer": "x" * 1_000}

    assert fit(value, 2_000, "elsewhere") == value


async def test_every_flow_can_have_a_tool_of_its_own(bridge_house: BridgeHouse) -> None:
    async with Client(build_server(Bridge(bridge_house.settings, tools="flow-tools,flowise_poll"))) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        asked = await client.call_tool("ask_document-qa", {"question": "Write a poem about the sea"})

    assert {"ask_document-qa", "ask_technical-analysis", "flowise_poll"} <= set(tools)
    assert "Technical Analysis" in (tools["ask_technical-analysis"].description or "")
    assert (asked.structured_content or {})["flow_key"] == "document-qa"


async def test_a_password_in_flowises_address_is_not_shown(bridge_house: BridgeHouse) -> None:
    secret = bridge_house.flowise_url.replace("://", "://alice:hunter2@")
    settings = bridge_house.settings.model_copy(update={"flowise_base_url": secret})
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        page = await client.call_tool("flowise_browse", {"flow_key": "slow"})

    assert "hunter2" not in page.model_dump_json()
    assert (page.structured_content or {})["editor_url"].startswith(bridge_house.flowise_url)
