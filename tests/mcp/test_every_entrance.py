"""One question through every entrance: the same text is asked, or it is refused for the same reason."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bridge_house import BridgeHouse, Raw, error_of, head, message_of
from celery import Celery

from agentic_flywheel.errors import InvalidQuery
from producer import AsyncProducer, Producer
from producer.replay.program import Replay

COMMAND = os.fsencode(Path(sys.executable).parent / "flywheel")
#: Something that the bridge calls the technical flow for, so that an answer comes.
ASKED = "Why is the docker build slow?"

#: What became of a question: the text that was asked, or the field and why it was refused.
Fate = str | tuple[str, str]
Entrance = Callable[[BridgeHouse, list[str]], Awaitable[list[Fate]]]


def refused(error: dict[str, Any]) -> Fate:
    assert error["error_type"] == "InvalidQuery"
    return error["details"]["field_name"], error["details"]["reason"]


async def kept(house: BridgeHouse, query_id: str, owner: str = "local") -> Fate:
    """Return the question as a record keeps it."""
    async with AsyncProducer(house.settings, owner=owner) as producer:
        return (await producer.status(query_id)).query.question


async def by_python(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    found: list[Fate] = []
    async with AsyncProducer(house.settings) as producer:
        for question in questions:
            try:
                found.append(await kept(house, (await producer.submit(question)).query_id))
            except InvalidQuery as error:
                found.append((error.field_name, error.reason))
    return found


async def by_blocking_python(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    def submit() -> list[Fate]:
        found: list[Fate] = []
        with Producer(house.settings) as producer:
            for question in questions:
                try:
                    found.append(producer.status(producer.submit(question).query_id).query.question)
                except InvalidQuery as error:
                    found.append((error.field_name, error.reason))
        return found

    return await asyncio.to_thread(submit)


async def by_celery(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    app = Celery(broker=house.broker.url, backend=house.broker.url)
    sent = [app.send_task("flywheel.classify", [{"question": each}], queue="classify") for each in questions]
    found: list[Fate] = []
    for each in sent:
        try:
            await asyncio.to_thread(each.get, timeout=60)
            found.append(await kept(house, each.id))
        except InvalidQuery as error:
            found.append((error.field_name, error.reason))
    return found


async def command(house: BridgeHouse, arguments: list[bytes], stdin: bytes) -> Fate:
    ended = await asyncio.to_thread(
        subprocess.run,
        [COMMAND, b"submit", b"--json", *arguments],
        env={**os.environ, **house.env},
        input=stdin,
        capture_output=True,
        check=False,
    )
    told = json.loads(ended.stdout)
    return refused(told) if ended.returncode else await kept(house, told["query_id"])


async def by_argument(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    return await asyncio.gather(*(command(house, [b"--", each.encode()], b"") for each in questions))


async def by_stdin(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    return await asyncio.gather(*(command(house, [b"-"], each.encode()) for each in questions))


def calls(questions: list[str]) -> list[dict[str, Any]]:
    return [{"name": "flowise_submit", "arguments": {"question": each}} for each in questions]


async def of_message(house: BridgeHouse, message: dict[str, Any], owner: str = "alice") -> Fate:
    if "error" in message:
        # What the SDK's reader of JSON does not take is answered before there is a call.
        return "question", message["error"]["message"].partition("`params.arguments.question`: ")[2]
    result = message["result"]
    if result["isError"]:
        return refused(error_of(result))
    return await kept(house, result["structuredContent"]["query_id"], owner)


async def by_http(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    found: list[Fate] = []
    async with Raw(house.url) as raw:
        for called in calls(questions):
            # As JSON in ASCII: a half of a pair can be written so.
            body = json.dumps(raw.request("tools/call", called))
            headers = head("tools/call", called) | {"content-type": "application/json"}
            found.append(
                await of_message(house, message_of(await raw.http.post(house.url, content=body, headers=headers)))
            )
    return found


async def by_stdio(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    given = house.stdio("--tools", "all")
    bridge = await asyncio.create_subprocess_exec(
        given.command, *given.args, env=given.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**23
    )
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    found: list[Fate] = []
    async with Raw(house.url) as raw:
        for called in calls(questions):
            bridge.stdin.write(json.dumps(raw.request("tools/call", called)).encode() + b"\n")
            found.append(await of_message(house, json.loads(await bridge.stdout.readline()), "local"))
    bridge.stdin.close()
    await bridge.wait()
    return found


@pytest.fixture(scope="module")
def _gateway(standing_bridge: BridgeHouse) -> None:
    """Open a gateway beside the bridge. Nobody needs a token there, so all is asked by `local`."""
    standing_bridge.gateway_url = standing_bridge.opened("gateway", "http_gateway", "--port", "0")


async def by_native_api(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    found: list[Fate] = []
    async with httpx2.AsyncClient(base_url=house.gateway_url, timeout=60) as http:
        for question in questions:
            told = (await http.post("/v1/queries", content=json.dumps({"question": question}))).json()
            found.append(refused(told["error"]) if "status" in told else await kept(house, told["query_id"]))
    return found


async def by_form(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    found: list[Fate] = []
    async with httpx2.AsyncClient(base_url=house.gateway_url, timeout=60) as http:
        for question in questions:
            told = (await http.post("/v1/queries", files={"question": (None, question.encode())})).json()
            found.append(refused(told["error"]) if "status" in told else await kept(house, told["query_id"]))
    return found


async def by_flowise_api(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    found: list[Fate] = []
    async with httpx2.AsyncClient(base_url=house.gateway_url, timeout=60) as http:
        for question in questions:
            told = (await http.post("/api/v1/prediction/auto", content=json.dumps({"question": question}))).json()
            query_id = told.get("chatMessageId", "").replace("-", "")
            found.append(await kept(house, query_id) if query_id else refused(told["details"]))
    return found


async def by_openai_api(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    """Where the question stands is named as this API has it: a message, or the text of a message."""
    found: list[Fate] = []
    async with httpx2.AsyncClient(base_url=house.gateway_url, timeout=60) as http:
        for question in questions:
            body = {"model": "auto", "messages": [{"role": "user", "content": question}]}
            told = (await http.post("/v1/chat/completions", content=json.dumps(body))).json()
            if "error" not in told:
                found.append(await kept(house, told["flywheel"]["query_id"]))
                continue
            error = told["error"]
            assert error["code"] == "invalid_value"
            assert error["param"] in ("messages.0.content", "messages.0.content.0.text")
            found.append(("question", error["message"].partition(f"{error['param']}: ")[2]))
    return found


async def by_replay(house: BridgeHouse, questions: list[str]) -> list[Fate]:
    file = house.folder / "entrance.jsonl"
    file.write_text("".join(json.dumps({"question": each}) + "\n" for each in questions))
    replay = Replay(file, out=house.folder / "entrance", settings=house.settings, dry_run=True)
    found: dict[int, Fate] = {result.item.number: result.item.question async for result in replay}
    for problem in replay.folder.problems():
        name, _, reason = problem.reason.partition(": ")
        found[problem.number] = name, reason
    return [found[number] for number in range(1, 1 + len(questions))]


NOT_SHOWABLE = "at position 30 can be neither stored nor shown"
SURROGATE, NUL, ESCAPE = f"{ASKED}\ud800", f"{ASKED}\x00", f"{ASKED}\x1b[31m"
MARKED, BLANK = f"\ufeff{ASKED}", "\u200b\u2800"
#: What is asked as it was given.
SAME = (
    f"\u202eabc\u202c {ASKED}\u200f",
    f"👩‍👩‍👧 می‌خواهم \u2067שלום\u2069 {ASKED}",
    f"{ASKED}\ta\r\nb",
    f"{ASKED}\u2028\uffff",
)
FATES: dict[str, Fate] = {
    MARKED: ASKED,
    SURROGATE: ("question", f"U+D800 (half of a surrogate pair) {NOT_SHOWABLE}"),
    NUL: ("question", f"U+0000 (control character) {NOT_SHOWABLE}"),
    ESCAPE: ("question", f"U+001B (control character) {NOT_SHOWABLE}"),
    f"{ASKED}\x9b": ("question", f"U+009B (control character) {NOT_SHOWABLE}"),
    BLANK: ("question", "it holds nothing but white space"),
    **{same: same for same in SAME},
}
ALL = tuple(FATES)
#: UTF-8 has no half of a pair.
IN_UTF_8 = tuple(each for each in FATES if each != SURROGATE)
#: A command is a process for each question: one of each kind. The system's arguments hold no NUL.
IN_ARGUMENTS = (MARKED, ESCAPE, BLANK, SAME[1])


@pytest.mark.usefixtures("_gateway")
@pytest.mark.parametrize(
    ("enter", "asked"),
    [
        pytest.param(by_python, ALL, id="Python"),
        pytest.param(by_blocking_python, ALL, id="blocking Python"),
        pytest.param(by_celery, ALL, id="plain Celery"),
        pytest.param(by_argument, IN_ARGUMENTS, id="command line"),
        pytest.param(by_stdin, (*IN_ARGUMENTS, NUL), id="stdin"),
        pytest.param(by_http, ALL, id="MCP over HTTP"),
        pytest.param(by_stdio, ALL, id="MCP over stdio"),
        pytest.param(by_native_api, ALL, id="HTTP"),
        pytest.param(by_form, IN_UTF_8, id="a form over HTTP"),
        pytest.param(by_flowise_api, ALL, id="Flowise's API"),
        pytest.param(by_openai_api, ALL, id="OpenAI's API"),
        pytest.param(by_replay, ALL, id="replay"),
    ],
)
async def test_a_question_has_the_same_fate_at_every_entrance(
    bridge_house: BridgeHouse, enter: Entrance, asked: tuple[str, ...]
) -> None:
    fates = await enter(bridge_house, list(asked))

    assert dict(zip(asked, fates, strict=True)) == {question: FATES[question] for question in asked}
