"""What the widget asks beside predictions: configuration, feedback, leads, icons, documents, messages."""

from __future__ import annotations

import json

import httpx2

from gateway.flowise.house import LEADING, POET, READING, SEEING, WidgetHouse, asked, chat
from gateway.house import gateway_client


async def test_health_checks_are_answered_without_a_token(widgets: WidgetHouse) -> None:
    async with gateway_client(widgets.url, None) as client:
        assert (await client.get("/api/v1/ping")).text == "pong"
        assert (await client.get("/api/v1/version")).json() == {"version": "3.1.4"}


async def test_what_its_owner_set_is_told_and_no_more(alice: httpx2.AsyncClient, visitor: httpx2.AsyncClient) -> None:
    told = (await alice.get(f"/api/v1/public-chatbotConfig/{POET}")).json()
    unknown = await alice.get("/api/v1/public-chatbotConfig/no-such-flow")
    pictures = (await visitor.get(f"/api/v1/public-chatbotConfig/{SEEING}")).json()
    files = (await visitor.get(f"/api/v1/public-chatbotConfig/{READING}")).json()
    auto = (await alice.get("/api/v1/public-chatbotConfig/auto")).json()

    assert told["starterPrompts"] == {"0": {"prompt": "Write about rain"}}
    assert (told["chatFeedback"], told["followUpPrompts"]) == ({"status": True}, {"status": True})
    assert "secret" not in json.dumps(told)
    assert "flowData" not in told
    assert unknown.status_code == 404
    assert pictures["uploads"]["isImageUploadAllowed"] is True
    assert files["fullFileUpload"] == {"status": True, "allowedUploadFileTypes": "text/plain"}
    assert auto["uploads"]["isImageUploadAllowed"] is False


async def test_a_form_is_told_with_nothing_but_its_start(
    alice: httpx2.AsyncClient, visitor: httpx2.AsyncClient
) -> None:
    told = json.loads((await visitor.get("/api/v1/public-chatbotConfig/expenses")).json()["flowData"])

    (node,) = told["nodes"]
    assert node["data"]["name"] == "startAgentflow"
    assert node["data"]["inputs"]["startInputType"] == "formInput"
    assert [each["name"] for each in node["data"]["inputs"]["formInputTypes"]] == ["employee", "amount"]


async def test_a_form_is_told_from_the_registry_where_flowise_is_away(alice: httpx2.AsyncClient) -> None:
    form = (await alice.get("/api/v1/public-chatbotConfig/faraway")).json()
    lead = await alice.post("/api/v1/leads/", json={"chatflowid": "faraway", "chatId": "c", "name": "Ada"})

    inputs = json.loads(form["flowData"])["nodes"][0]["data"]["inputs"]
    assert [(each["name"], each["type"]) for each in inputs["formInputTypes"]] == [
        ("employee", "string"),
        ("kind", "options"),
    ]
    assert form["uploads"]["isImageUploadAllowed"] is False
    assert lead.status_code == 503


async def test_a_thumb_is_a_rating_of_the_query(alice: httpx2.AsyncClient) -> None:
    frames = dict(await asked(alice, "poet", question="a poem to rate", chatId="c"))
    message = frames["metadata"]["chatMessageId"]
    thumb = {"chatflowid": POET, "chatId": "c", "messageId": message, "rating": "THUMBS_DOWN", "content": ""}

    given = (await alice.post(f"/api/v1/feedback/{POET}", json=thumb)).json()
    turned = await alice.put(f"/api/v1/feedback/{given['id']}", json={"rating": "THUMBS_UP"})
    said = await alice.put(f"/api/v1/feedback/{given['id']}", json={"content": "x" * 3000})
    unrated = dict(await asked(alice, "poet", question="another poem", chatId="c"))["metadata"]["chatMessageId"]
    nothing = await alice.put(f"/api/v1/feedback/{unrated}", json={"content": "x"})
    unfit = [
        await alice.post("/api/v1/feedback/poet", json={**thumb, "messageId": "none"}),
        await alice.post("/api/v1/feedback/poet", json={**thumb, "rating": "MAYBE"}),
        await alice.post("/api/v1/feedback/poet", json={**thumb, "messageId": chat()}),
    ]

    assert (turned.json(), said.json()) == ({"status": "OK"}, {"status": "OK"})
    assert [each.status_code for each in [nothing, *unfit]] == [400, 400, 400, 404]
    stored = await alice.get(f"/v1/queries/{message.replace('-', '')}")
    assert stored.status_code == 200


async def test_a_thumb_is_kept_as_a_score(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    frames = dict(await asked(alice, "poet", question="a poem to rate", chatId="c"))
    message = frames["metadata"]["chatMessageId"]
    await alice.post("/api/v1/feedback/poet", json={"messageId": message, "rating": "THUMBS_UP", "content": "fine"})

    (score,) = [
        json.loads(value) for value in widgets.client.hgetall(f"flywheel:scores:{message.replace('-', '')}").values()
    ]
    assert (score["value"], score["comment"]) == (True, "fine")


async def test_a_lead_is_left_with_flowise_under_a_name_of_ours(
    visitor: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    mine = chat()
    lead = {"chatflowid": LEADING, "chatId": mine, "name": "Ada", "email": "ada@example.com", "phone": None}

    told = await visitor.post("/api/v1/leads/", json=lead)

    assert told.status_code == 200, told.text
    assert (told.json()["name"], told.json()["chatId"]) == ("Ada", mine)
    (kept,) = widgets.leads
    assert (kept["chatflowid"], kept["email"]) == (LEADING, "ada@example.com")
    assert kept["chatId"] != mine
    assert (await visitor.post("/api/v1/leads/", json={**lead, "chatId": "1"})).status_code == 400
    assert (await visitor.post("/api/v1/leads/", json={**lead, "chatflowid": "technical"})).status_code == 401


async def test_icons_are_passed_on_and_nothing_else(alice: httpx2.AsyncClient) -> None:
    found = await alice.get("/api/v1/node-icon/chatOpenAI")
    none = await alice.get("/api/v1/node-icon/llmAgentflow")
    other = await alice.get("/api/v1/node-icon/..%2F..%2Fping")

    assert (found.headers["content-type"], found.status_code) == ("image/svg+xml", 200)
    assert "sandbox" in found.headers["content-security-policy"]
    assert (none.status_code, other.status_code) == (404, 404)


async def test_who_has_no_token_does_not_have_flowise_asked_for_ever(visitor: httpx2.AsyncClient) -> None:
    known = [await visitor.get("/api/v1/node-icon/chatOpenAI") for _ in range(80)]
    unknown = [await visitor.get(f"/api/v1/node-icon/guess{n}Agentflow") for n in range(80)]
    after = await visitor.get("/api/v1/node-icon/chatOpenAI")

    assert {each.status_code for each in known} == {200}
    assert 50 < [each.status_code for each in unknown].count(404) <= 60
    assert (unknown[-1].status_code, after.status_code) == (429, 200)
    assert "Please try again in a minute" in unknown[-1].text


async def test_documents_are_put_into_a_flows_store(alice: httpx2.AsyncClient) -> None:
    files = {"files": ("note.txt", b"The secret word is walrus.\n" * 10_000, "text/plain")}

    done = await alice.post("/api/v1/vector/upsert/reading", files=files, data={"chatId": "c"})
    none = await alice.post("/api/v1/vector/upsert/reading", files={"nothing": (None, "x")})
    auto = await alice.post("/api/v1/vector/upsert/auto", files=files)

    assert done.json()["numAdded"] == 1
    assert (none.status_code, auto.status_code) == (400, 400)


async def test_a_chat_is_read_and_forgotten_by_its_owner_alone(
    alice: httpx2.AsyncClient, bob: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    await asked(alice, "poet", question="a poem to forget", chatId="c")
    mine = (await alice.get("/api/v1/chatmessage/poet?chatId=c")).json()
    foreign = (await bob.get("/api/v1/chatmessage/poet?chatId=c")).json()
    everything = await alice.delete("/api/v1/chatmessage/poet")

    gone = await alice.delete("/api/v1/chatmessage/poet?chatId=c")

    assert [each["content"] for each in mine][:1] == ["a poem to forget"]
    assert foreign == []
    assert everything.status_code == 400
    assert gone.json()["affected"] > 0, gone.text
    assert (await alice.get("/api/v1/chatmessage/poet?chatId=c")).json() == []


async def test_a_file_that_is_not_there_is_not_found(alice: httpx2.AsyncClient) -> None:
    await asked(alice, "poet", question="a poem without files", chatId="c")
    for name in ("plot.png", f"{'a' * 32}-plot.png"):
        where = {"chatflowId": POET, "chatId": "c", "fileName": name}
        found = await alice.get("/api/v1/get-upload-file", params=where)
        assert found.status_code == 404, found.text
    where["chatId"] = "another"
    assert (await alice.get("/api/v1/get-upload-file", params=where)).status_code == 404
