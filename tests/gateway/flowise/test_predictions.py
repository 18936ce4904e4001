"""Predictions with a token: plain, streamed, in a chat, refused, cut off, with files, and decided by a person."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import httpx2
import pytest
from celery import Celery
from processes import wait_for

from agentic_flywheel.broker import wire
from gateway.flowise.house import APPROVAL, BROKEN, NARROW, POET, READING, SEEING, WidgetHouse, asked, chat, text_of
from gateway.house import gateway_client

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")


async def plain(client: httpx2.AsyncClient, flow: str, **body: Any) -> dict[str, Any]:
    response = await client.post(f"/api/v1/prediction/{flow}", json=body)
    found: dict[str, Any] = response.json()
    assert response.status_code == 200, found
    return found


@pytest.mark.parametrize("name", ["poet", POET, "auto"])
async def test_a_flow_is_named_by_key_by_its_id_in_flowise_or_not_at_all(alice: httpx2.AsyncClient, name: str) -> None:
    found = await plain(alice, name, question="Write a poem about the sea", chatId="my chat".replace(" ", "-"))

    assert found["text"]
    assert (found["chatId"], found["sessionId"], found["question"]) == (
        "my-chat",
        "my-chat",
        "Write a poem about the sea",
    )
    assert uuid.UUID(found["chatMessageId"])


async def test_a_second_turn_follows_the_first_in_its_chat(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    named = await plain(alice, "poet", question="a poem about rain", chatId=None, overrideConfig=None, history=[])
    frames = await asked(alice, "poet", question="another one about snow", chatId=named["chatId"])

    assert "Following up on “a poem about rain”" in text_of(frames)
    assert frames[-2][1]["chatId"] == named["chatId"]
    told = widgets.sent("another one about snow")[0]
    assert named["chatId"] not in json.dumps(told)


async def test_chats_of_two_owners_are_two_conversations(alice: httpx2.AsyncClient, bob: httpx2.AsyncClient) -> None:
    await plain(alice, "poet", question="a poem about my secret", chatId="same")
    found = await plain(bob, "poet", question="and another one", chatId="same")

    assert "secret" not in found["text"]


async def test_a_stream_has_the_frames_that_a_chatflow_has(alice: httpx2.AsyncClient) -> None:
    frames = await asked(alice, "poet", question="a poem about frames", chatId="c")

    names = list(dict.fromkeys(name for name, _ in frames))
    assert names == ["start", "token", "metadata", "end"]
    assert json.loads(frames[-2][1]["followUpPrompts"])


async def test_an_agentflow_tells_its_steps(alice: httpx2.AsyncClient) -> None:
    frames = await asked(alice, "technical", question="How do I index a table?", chatId="c")

    nodes = [data for name, data in frames if name == "agentFlowExecutedData"][-1]
    assert [(node["nodeLabel"], node["status"]) for node in nodes] == [("Start", "FINISHED"), ("LLM 0", "FINISHED")]
    assert {"nextAgentFlow", "token"} <= {name for name, _ in frames}


async def test_sources_and_artifacts_come_with_the_answer(alice: httpx2.AsyncClient) -> None:
    frames = dict(await asked(alice, "papers", question="What does the contract say?", chatId="c"))
    made = dict(await asked(alice, "plotter", question="plot six times seven", chatId="d"))

    assert frames["sourceDocuments"][0]["metadata"]["source"] == "handbook.pdf"
    assert made["usedTools"][0]["tool"] == "plot"
    stored = next(each["data"] for each in made["artifacts"] if each["type"] == "png").removeprefix("FILE-STORAGE::")
    # A picture in a page comes without a token; whoever has its name and its chat is shown it.
    async with httpx2.AsyncClient(base_url=str(alice.base_url)) as page:
        where = {"chatflowId": "plotter", "fileName": stored}
        found = await page.get("/api/v1/get-upload-file", params={**where, "chatId": "d"})
        other = await page.get("/api/v1/get-upload-file", params={**where, "chatId": "e"})
    assert (found.status_code, found.headers["content-type"], found.content[:4]) == (200, "image/png", b"\x89PNG")
    assert "sandbox" in found.headers["content-security-policy"]
    assert other.status_code == 404


async def test_an_answer_that_is_kept_is_told_at_once(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    first = await asked(alice, "poet", question="a poem that is kept")
    second = await asked(alice, "poet", question="a poem that is kept")

    assert text_of(first) == text_of(second)
    assert widgets.calls("a poem that is kept") == 1


async def test_configuration_history_and_variables_reach_the_flow(
    alice: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    config = {"sessionId": "s-1", "temperature": 0.9, "vars": {"profile": "teacher"}}
    history = [{"role": "userMessage", "content": "hello"}, {"role": "apiMessage", "content": "good day"}]
    found = await plain(alice, "poet", question="with all of it", overrideConfig=config, history=history)

    assert (found["chatId"], found["sessionId"]) == ("s-1", "s-1")
    sent = widgets.sent("with all of it")[0]
    assert sent["history"] == history
    assert sent["overrideConfig"]["temperature"] == 0.9
    assert sent["overrideConfig"]["vars"] == {"profile": "teacher"}
    assert "s-1" not in json.dumps(sent)


async def test_refusals_are_frames_on_a_stream_and_json_else(alice: httpx2.AsyncClient) -> None:
    streamed = await asked(alice, "no-such-flow", question="x")
    unfit = await asked(alice, "poet", question=7)
    refused = await alice.post("/api/v1/prediction/no-such-flow", json={"question": "x"})
    broken = await alice.post("/api/v1/prediction/poet", content=b"{", headers={"content-type": "application/json"})

    assert [name for name, _ in streamed] == ["error", "end"]
    assert "no active flow 'no-such-flow'" in streamed[0][1]
    assert "question" in unfit[0][1]
    assert (refused.status_code, refused.json()["success"]) == (404, False)
    assert "no active flow" in refused.json()["message"]
    assert broken.status_code == 400


async def test_nobody_without_a_token_learns_which_flows_there_are(widgets: WidgetHouse) -> None:
    async with gateway_client(widgets.url, None) as stranger, gateway_client(widgets.url, "wrong-token") as wrong:
        for client in (stranger, wrong):
            frames = [await asked(client, name, question="x") for name in ("technical", "no-such-flow", "auto")]
            assert [told[0][1] for told in frames] == ["Unauthorized"] * 3
        flat = await stranger.post("/api/v1/prediction/technical", json={"question": "x"})
        seen = [await stranger.get(f"/api/v1/chatflows-streaming/{name}") for name in ("technical", "no-such-flow")]
        configs = [await stranger.get(f"/api/v1/public-chatbotConfig/{name}") for name in ("technical", "nothing")]
        messages = await stranger.get("/api/v1/chatmessage/technical?chatId=c")
    assert (flat.status_code, flat.json()["message"]) == (401, "Unauthorized")
    assert [each.json() for each in seen] == [{"isStreaming": True}] * 2
    assert configs[0].json() == configs[1].json()
    assert messages.status_code == 401


async def test_a_flow_that_fails_says_so_in_either_way(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    widgets.behave(BROKEN, fault="error_500")

    frames = await asked(alice, "broken", question="x")
    response = await alice.post("/api/v1/prediction/broken", json={"question": "x"})

    assert [name for name, _ in frames][-2:] == ["error", "end"]
    assert "The flow 'broken' failed" in dict(frames)["error"]
    assert response.status_code == 502
    assert "The flow 'broken' failed" in response.json()["message"]


async def test_what_waits_says_why_and_can_be_stopped(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    widgets.behave(NARROW, latency=20)
    first = asyncio.create_task(asked(alice, "narrow", question="the first one", chatId="one"))
    await asyncio.to_thread(wait_for, lambda: widgets.calls("the first one"), what="the first call")
    second = asyncio.create_task(asked(alice, "narrow", question="the second one", chatId="two"))
    await asyncio.sleep(2.5)

    stopped = [await alice.put(f"/api/v1/chatmessage/abort/narrow/{name}") for name in ("two", "one", "nothing")]

    assert [each.json() for each in stopped] == [{"status": 200, "message": "Chat message aborted"}] * 3
    frames = await asyncio.wait_for(second, 15)
    assert "has all the calls it may have" in "".join(data for name, data in frames if name == "thinking")
    assert "cancelled" in dict(frames)["error"]
    assert [name for name, _ in await asyncio.wait_for(first, 15)][-2:] == ["error", "end"]


async def test_a_client_that_goes_away_does_not_stop_its_query(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    widgets.behave(POET, token_delay=0.05)
    body = {"question": "a poem for nobody", "chatId": "left", "streaming": True}
    async with alice.stream("POST", "/api/v1/prediction/poet", json=body) as response:
        async for line in response.aiter_lines():
            if '"token"' in line:
                break

    async def kept() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await alice.get("/api/v1/chatmessage/poet?chatId=left")).json()
        return found

    for _ in range(100):
        if messages := await kept():
            break
        await asyncio.sleep(0.2)
    assert [each["role"] for each in messages] == ["userMessage", "apiMessage"]
    assert messages[0]["content"] == "a poem for nobody"
    assert (await alice.get("/api/v1/chatmessage/poet?chatId=left&order=DESC")).json() == messages[::-1]


async def test_a_turn_of_a_plain_client_that_has_named_it_stands_in_its_chat(
    alice: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    client = Celery(broker=widgets.broker.url, backend=widgets.broker.url)
    question = {"question": "Write a poem about tin", "flow": "poet", "owner": "alice", "session_id": "celery-chat"}
    sent = client.send_task(wire.CLASSIFY, [question], queue=wire.CLASSIFY_QUEUE, task_id="poem:1")
    answer = await asyncio.to_thread(sent.get, timeout=20)
    told = await alice.get("/api/v1/chatmessage/poet?chatId=celery-chat")

    assert [each["content"] for each in told.json()] == [question["question"], answer["text"]], told.text


async def test_a_persons_decision_lets_a_flow_go_on(alice: httpx2.AsyncClient, widgets: WidgetHouse) -> None:
    widgets.behave(APPROVAL, stops=2)
    frames = dict(await asked(alice, "approval", question="please do", chatId="h"))
    action = frames["action"]
    decision = {"type": "proceed", "startNodeId": action["data"]["nodeId"], "feedback": ""}

    again = dict(await asked(alice, "approval", question="Proceed", chatId="h", humanInput=decision))
    later = {**decision, "startNodeId": again["action"]["data"]["nodeId"]}
    # Its client has not had the reply and sends it again: that is no decision of what is asked by now.
    repeated = await asked(alice, "approval", question="Proceed", chatId="h", humanInput=decision)
    nameless = await asked(alice, "approval", chatId="h", humanInput={"type": "proceed"})
    elsewhere = await asked(alice, "poet", question="Proceed", chatId="h", humanInput=later)
    end = await plain(alice, "approval", question="Proceed", chatId="h", humanInput=later)
    none = await asked(alice, "approval", question="Proceed", chatId="h", humanInput=later)

    assert [each["label"] for each in action["elements"]] == ["Proceed", "Reject"]
    assert again["action"]["id"] != action["id"]
    assert "nothing was decided: the chat asks at 'humanInputAgentflow_1#2' now" in repeated[0][1]
    assert "the chat asks at 'humanInputAgentflow_1#2' now" in nameless[0][1]
    assert "another flow waits for a decision in this chat" in elsewhere[0][1]
    assert (end["text"], "action" in end) == ("approved", False)
    assert "no flow waits for a decision" in none[0][1]


async def test_a_plain_question_to_a_person_is_rejected_with_a_word(alice: httpx2.AsyncClient) -> None:
    first = await plain(alice, "approval", question="please do it plainly", chatId="p")
    meanwhile = await asked(alice, "approval", question="something else", chatId="p")
    decision = {"type": "reject", "startNodeId": first["action"]["data"]["nodeId"], "feedback": "not now"}
    end = await asked(alice, "approval", question="not now", chatId="p", humanInput=decision)

    assert first["text"].strip() == "Proceed with it?"
    assert "waits for a person's decision" in meanwhile[0][1]
    assert text_of(end).strip() == "rejected"


async def test_files_go_along_as_data_as_a_form_and_as_attachments(
    alice: httpx2.AsyncClient, widgets: WidgetHouse
) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    picture = {"type": "file", "name": "dot.png", "mime": "image/png", "data": data}
    await asked(alice, "seeing", question="what is in it", chatId="u", uploads=[picture])
    form = {"question": "what is in the form", "chatId": "f", "overrideConfig": '{"temperature": 0.1}'}
    sent = await alice.post("/api/v1/prediction/seeing", data=form, files={"files": ("dot.png", PNG, "image/png")})
    note = {"files": ("note.txt", b"The secret word is walrus.\n", "text/plain")}
    kept = (await alice.post("/api/v1/attachments/reading/a", files=note, data={"chatId": "a"})).json()
    full = {"type": "file:full", "name": "note.txt", "mime": "text/plain", "data": kept[0]["content"]}
    await asked(alice, READING, question="what is the secret", chatId="a", uploads=[full])

    assert sent.status_code == 200, sent.text
    assert widgets.sent("what is in it")[0]["uploads"][0]["data"]["size"] == len(PNG)
    told = widgets.sent("what is in the form")[0]
    assert (told["uploads"][0]["name"], told["overrideConfig"]["temperature"]) == ("dot.png", 0.1)
    assert {name: kept[0][name] for name in ("name", "mimeType", "size")} == {
        "name": "note.txt",
        "mimeType": "text/plain",
        "size": 27,
    }
    assert widgets.sent("what is the secret")[0]["uploads"][0]["data"] == "The secret word is walrus.\n"
    again = await alice.get(
        "/api/v1/get-upload-file", params={"chatflowId": SEEING, "chatId": "u", "fileName": "dot.png"}
    )
    assert (again.status_code, again.headers["content-type"]) == (200, "image/png")


async def test_a_lost_attachment_is_named(alice: httpx2.AsyncClient) -> None:
    lost = {"type": "file:full", "name": "note.txt", "data": f"flywheel-upload:{'a' * 64}:27"}

    frames = await asked(alice, "reading", question="what is in it", chatId=chat(), uploads=[lost])

    assert "note.txt" in frames[0][1]
    assert [name for name, _ in frames] == ["error", "end"]


async def test_a_form_is_filled_in(alice: httpx2.AsyncClient) -> None:
    found = await plain(alice, "expenses", form={"employee": "Ada", "amount": 7}, chatId="x")
    unfit = await alice.post("/api/v1/prediction/expenses", json={"form": {"employee": "Ada"}})

    assert found["text"] == "form: Ada, 7"
    assert "question" not in found
    assert unfit.status_code == 400
