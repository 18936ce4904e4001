"""The right person, on a real Flowise: names that nobody can guess, and nothing left of who is forgotten."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from person.house import run_command

from flowise_real.conftest import RealHouse
from flowise_real.flows import letters
from producer import AsyncProducer


async def test_flowise_is_told_a_name_of_a_session_that_nobody_can_guess(
    producer: AsyncProducer, house: RealHouse
) -> None:
    session = f"s-{uuid.uuid4().hex}"
    askers = [producer.acting_for("shop", "ann"), producer.acting_for("shop", "bob"), producer.acting_for("rival")]

    told = [
        [json.loads((await each.ask(f"Turn {turn}", flow="mirror", session_id=session, wait=30)).text) for turn in "ab"]
        for each in askers
    ]

    names = [turns[0]["session"] for turns in told]
    assert all(turns[0]["session"] == turns[1]["session"] for turns in told)
    assert len(set(names)) == 3
    assert not [name for name in names if session in name or "ann" in name or "shop" in name]


async def test_of_a_person_who_is_forgotten_flowise_keeps_no_message(
    producer: AsyncProducer, house: RealHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, stays = letters(), letters()
    for word in (gone, stays):
        asker = producer.acting_for("shop", f"u-{word}")
        for turn in range(3):
            await asker.ask(f"{word} {turn}", flow="mirror", session_id="s", cache="bypass", wait=30)
    # One is under way: some flows go on with what they are asked to stop.
    monkeypatch.setattr("producer.flowise_chats.LONGEST", 5.0)
    await producer.acting_for("shop", f"u-{gone}").submit(f"{gone} 3000", flow="slow")
    await asyncio.sleep(1)
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)

    line = ["forget", "--owner", "shop", "--user", f"u-{gone}", "--json"]
    _, out, err = json.loads(await asyncio.to_thread(run_command, line, monkeypatch, capsys))

    found = json.loads(out)
    assert found["deleted"]["messages in Flowise"] >= 6, err
    told = [each for each in found["left"] if each.startswith("Flowise")]
    assert all("may still write" in each or "or were stopped" in each for each in told)
    kept = [each["content"] for flow in ("mirror", "slow") for each in house.flowise.messages(house.flows[flow])]
    assert not [each for each in kept if gone in each]
    assert len([each for each in kept if stays in each]) == 6
    executions = [
        each
        for flow in ("mirror", "slow")
        for each in house.flowise.call("GET", "executions", agentflowId=house.flows[flow], limit="100", page="1")[
            "data"
        ]
    ]
    assert not [each for each in executions if gone in str(each) and each["state"] == "FINISHED"]
    assert len([each for each in executions if stays in str(each)]) == 3
