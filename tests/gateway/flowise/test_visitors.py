"""People without a token: only public flows, only from their pages, only in a chat of their own, only so much."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from agentic_flywheel.catalog import PublicAccess
from agentic_flywheel.errors import OwnerLimitReached
from gateway.flowise.house import APPROVAL, BROKEN, WidgetHouse, asked, chat, text_of
from gateway.house import gateway_client
from http_gateway.flowise import guests
from http_gateway.flowise.guests import Addresses

PICTURE = {"type": "file", "name": "dot.png", "mime": "image/png", "data": "data:image/png;base64,aGk="}


async def test_a_visitor_talks_to_a_public_flow_in_a_chat_of_its_own(
    visitor: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    one, other = f"customer-7+{chat()}", chat()
    first = await asked(visitor, "poet", question="a poem about my secret", chatId=one)
    second = await asked(visitor, "poet", question="and another one", chatId=one)
    elsewhere = await asked(visitor, "poet", question="and another one", chatId=other)

    assert text_of(first)
    assert "secret" in text_of(second)
    assert "secret" not in text_of(elsewhere)
    assert dict(second)["metadata"]["chatId"] == one
    assert one not in str(widgets.latest(3))


async def test_what_one_visitor_was_answered_another_is_not_served(
    visitor: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    for _ in range(2):
        await asked(visitor, "poet", question="a poem for each", chatId=chat())

    assert widgets.calls("a poem for each") == 2


@pytest.mark.parametrize("body", [{"chatId": "1"}, {"chatId": chat(), "overrideConfig": {"sessionId": "everybody"}}])
async def test_a_chat_that_can_be_guessed_is_refused(visitor: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    frames = await asked(visitor, "poet", question="x", **body)

    assert "random UUID" in frames[0][1]


async def test_a_chat_is_made_for_a_visitor_who_names_none(visitor: httpx2.AsyncClient) -> None:
    assert text_of(await asked(visitor, "poet", question="a poem about nobody"))


@pytest.mark.parametrize("flow", ["technical", "auto", "no-such-flow"])
async def test_other_flows_are_not_there_for_visitors(visitor: httpx2.AsyncClient, flow: str) -> None:
    assert await asked(visitor, flow, question="x", chatId=chat()) == [("error", "Unauthorized"), ("end", "[DONE]")]


async def test_other_pages_are_refused(widgets: WidgetHouse) -> None:
    async with gateway_client(widgets.url, None) as client:
        for origin in ({"Origin": "http://elsewhere.test"}, {}):
            response = await client.post("/api/v1/prediction/poet", json={"question": "x"}, headers=origin)
            assert (response.status_code, response.json()["message"]) == (403, "This page may not use this chat.")
        anywhere = await client.get("/api/v1/public-chatbotConfig/reading", headers={"Origin": "http://elsewhere.test"})
    assert anywhere.headers["access-control-allow-origin"] == "http://elsewhere.test"


async def test_every_answer_to_a_page_says_that_it_may_be_read(
    visitor: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,x-own"}
    paths = [
        "/prediction/poet", "/feedback/poet", "/leads/", "/attachments/poet/c", "/chatmessage/abort/poet/c",
        "/get-upload-file", "/node-icon/llm", "/vector/upsert/poet", "/chatmessage/poet", "/ping", "/nothing",
    ]  # fmt: skip
    for path in paths:
        before = await visitor.options(f"/api/v1{path}", headers=asks)
        assert before.status_code == 204, path
        assert before.headers["access-control-allow-headers"] == "content-type,x-own"
        assert "PUT" in before.headers["access-control-allow-methods"]
        answers = [await visitor.request(method, f"/api/v1{path}") for method in ("GET", "POST", "PUT")]
        shared = {each.headers.get("access-control-allow-origin") for each in [before, *answers]}
        assert shared == {widgets.shop}, path
        assert all(each.status_code < 500 for each in answers), path


async def test_files_of_visitors_are_taken_where_the_flow_says_so(visitor: httpx2.AsyncClient) -> None:
    refused = await asked(visitor, "poet", question="x", chatId=chat(), uploads=[PICTURE])
    note = {"files": ("note.txt", b"walrus", "text/plain")}
    form = await visitor.post("/api/v1/prediction/poet", data={"question": "x"}, files=note)
    kept = await visitor.post(f"/api/v1/attachments/poet/{chat()}", files=note)
    large = await visitor.post("/api/v1/prediction/poet", content=b"[" * (2**20 + 1))
    allowed = await asked(visitor, "seeing", question="what is it", chatId=chat(), uploads=[PICTURE])
    upsert = await visitor.post("/api/v1/vector/upsert/reading", files=note)

    assert "token only" in refused[0][1]
    assert "token only" in form.json()["message"]
    assert "token only" in kept.json()["message"]
    assert large.status_code == 413
    assert text_of(allowed)
    assert upsert.status_code == 403


async def test_visitors_are_told_nothing_of_the_house(visitor: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    widgets.behave(BROKEN, fault="error_500")
    frames = await asked(visitor, "broken", question="x", chatId=chat())
    flat = await visitor.post("/api/v1/prediction/broken", json={"question": "x", "chatId": chat()})

    said = dict(frames)["error"]
    assert said.startswith("There is no answer at the moment. Please try again later. (")
    assert flat.json().keys() == {"statusCode", "success", "message", "stack"}
    assert "broken" not in said + flat.text
    for method in ("GET", "DELETE"):
        refused = await visitor.request(method, "/api/v1/chatmessage/poet", params={"chatId": chat()})
        assert refused.json()["message"] == "This chat cannot do that."
        assert refused.json().keys() == {"statusCode", "success", "message", "stack"}


async def test_a_visitor_decides_rates_and_stops_in_its_chat_alone(
    visitor: httpx2.AsyncClient, bob: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    mine, other = chat(), chat()
    asks = dict(await asked(visitor, APPROVAL, question="please do", chatId=mine))
    decision = {"type": "proceed", "startNodeId": asks["action"]["data"]["nodeId"]}
    foreign = await asked(visitor, APPROVAL, question="Proceed", chatId=other, humanInput=decision)
    end = dict(await asked(visitor, APPROVAL, question="Proceed", chatId=mine, humanInput=decision))
    message = end["metadata"]["chatMessageId"]
    thumb = {"chatflowid": APPROVAL, "messageId": message, "rating": "THUMBS_UP", "content": ""}

    stranger = await visitor.post("/api/v1/feedback/approval", json={**thumb, "chatId": other})
    given = await visitor.post(f"/api/v1/feedback/{APPROVAL}", json={**thumb, "chatId": mine})
    more = await visitor.put(f"/api/v1/feedback/{given.json()['id']}", json={"content": "nice answer"})
    others = await bob.put(f"/api/v1/feedback/{given.json()['id']}", json={"content": "not mine"})
    unknown = await visitor.put(f"/api/v1/feedback/{chat()}", json={"content": "x"})

    assert "no flow waits" in foreign[0][1]
    assert stranger.status_code == 404
    assert (given.json()["messageId"], given.json()["rating"]) == (message, "THUMBS_UP")
    assert more.json() == {"status": "OK"}
    assert (others.status_code, unknown.status_code) == (404, 401)
    async with gateway_client(widgets.url, None) as nowhere:
        assert (await nowhere.put(f"/api/v1/feedback/{given.json()['id']}", json={})).status_code == 403


async def test_a_public_page_does_not_become_the_user_of_this_machine(widgets: WidgetHouse) -> None:
    """Where no token is needed, a page that may ask public flows may ask nothing else."""
    url = await asyncio.to_thread(widgets.gateway, FLYWHEEL_HTTP_VISITORS="true", FLYWHEEL_HTTP_VISITOR_QUERIES="2")
    async with gateway_client(url, None) as here:
        assert text_of(await asked(here, "technical", question="How do I index a table?"))
        here.headers["Origin"] = widgets.shop
        for name in ("technical", "auto"):
            assert await asked(here, name, question="x") == [("error", "Unauthorized"), ("end", "[DONE]")]
        here.headers["Origin"] = "http://elsewhere.test"
        assert (await here.get("/api/v1/chatmessage/technical?chatId=c")).status_code == 401
        here.headers["Origin"] = widgets.shop
        for _ in range(2):
            assert text_of(await asked(here, "poet", question="a poem", chatId=chat()))
        assert "too many questions" in (await asked(here, "poet", question="a poem", chatId=chat()))[0][1]
        flat = await here.post("/api/v1/prediction/poet", json={"question": "a poem", "chatId": chat()})
        assert (flat.status_code, flat.headers["content-type"]) == (429, "text/plain; charset=utf-8")
        assert int(flat.headers["retry-after"]) > 0
    async with gateway_client(widgets.url, None) as page:
        page.headers["Origin"] = "http://localhost:1"
        assert (await asked(page, "poet", question="x"))[0] == ("error", "This page may not use this chat.")


def test_addresses_are_counted_for_a_minute_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    # Of this module alone: a clock that stands still for all would stop what else runs here.
    monkeypatch.setattr(guests, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(guests, "_MOST_ADDRESSES", 2)
    addresses = Addresses(1)
    addresses.count("a")
    with pytest.raises(OwnerLimitReached) as refused:
        addresses.count("a")
    assert refused.value.retry_after == 60.0
    now = 61.0
    addresses.count("a")
    addresses.count("b")
    addresses.count("c")

    addresses.count("a")  # it was forgotten for the others


@pytest.mark.parametrize("origin", ["shop.test", "https://shop.test/page", "https://u:p@shop.test", "file:///x", ""])
def test_an_origin_is_a_scheme_and_a_name(origin: str) -> None:
    with pytest.raises(ValidationError):
        PublicAccess(origins=(origin,))
