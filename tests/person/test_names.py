"""What a conversation is called: for us by owner, user and id together, for Flowise by nothing that can be guessed."""

from __future__ import annotations

import re
import uuid
from typing import Any

from bridge_house import BridgeHouse
from hypothesis import given
from hypothesis import strategies as st

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.persistence import generate_cache_key
from agentic_flywheel.broker.sessions import flowise_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.idempotency import query_id_of
from person.house import Bridge
from producer import AsyncProducer

_NAMES = st.text("ab:/|%\u00e9", min_size=1, max_size=4)
_ASKERS = st.builds(Asker, _NAMES, st.none() | _NAMES)
_FLOW = Flow(key="f", id="896f7eed-342e-4596-9429-6fb9b5fbd91b", domain="d")


@given(_ASKERS, _ASKERS, _NAMES, _NAMES)
def test_no_text_makes_the_key_of_another_asker(one: Asker, other: Asker, first: str, second: str) -> None:
    same_asker, same = one == other, (one, first) == (other, second)

    assert (one.name == other.name) == same_asker
    assert (one.session_name(first) == other.session_name(second)) == same
    assert (query_id_of(one, first) == query_id_of(other, second)) == same
    assert (generate_cache_key("?", _FLOW, asker=one) == generate_cache_key("?", _FLOW, asker=other)) == same_asker


@given(_NAMES, _NAMES, st.none() | _NAMES, st.none() | _NAMES)
def test_no_profile_makes_the_name_of_another_conversation(
    life: str, other: str, profile: str | None, another: str | None
) -> None:
    same = (life, profile) == (other, another)

    assert (flowise_session(life, profile) == flowise_session(other, another)) == same


def told(house: BridgeHouse, question: str) -> str:
    """Return the session that Flowise was told with this question."""
    (body,) = house.sent(question)
    found: str = body["overrideConfig"]["sessionId"]
    return found


async def ask(producer: AsyncProducer, session: str, **fields: Any) -> str:
    question = f"How do I use a python database? ({uuid.uuid4().hex})"
    await producer.ask(question, session_id=session, flow="technical-analysis", wait=30, **fields)
    return question


async def test_flowise_is_told_a_name_that_nobody_can_guess_and_that_is_nobody_elses(house: BridgeHouse) -> None:
    session = f"s-{uuid.uuid4().hex[:8]}"
    async with AsyncProducer(house.settings, owner="shop") as producer:
        asked = [
            await ask(producer, session),
            await ask(producer, f"{session}:vault"),
            await ask(producer.acting_for("shop", "ann"), session),
            await ask(producer.acting_for("shop", "bea"), session),
            await ask(producer.acting_for("rival"), session),
        ]
        again = await ask(producer, session)

    names = [told(house, question) for question in asked]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert told(house, again) == names[0]


async def test_a_name_that_is_used_again_is_another_one_to_flowise(house: BridgeHouse) -> None:
    session = f"s-{uuid.uuid4().hex[:8]}"
    async with AsyncProducer(house.settings, owner="shop") as producer:
        before = await ask(producer, session)
        # It has expired; what is left of it may expire a moment later.
        house.client.delete(wire.session_key(Asker("shop").session_name(session)))
        after = await ask(producer, session)
        turns = await producer.history(session)

    assert told(house, after) != told(house, before)
    assert [turn.question for turn in turns] == [after]
    assert "history" not in house.sent(after)[0]


async def test_a_turn_of_a_session_that_has_ended_is_no_turn_of_the_next_one(house: BridgeHouse) -> None:
    session, late = f"s-{uuid.uuid4().hex[:8]}", f"How do I use a python database? ({uuid.uuid4().hex})"
    async with AsyncProducer(house.settings, owner="shop") as producer:
        house.behave("896f7eed-342e-4596-9429-6fb9b5fbd91b", latency=1.0)
        slow = await producer.submit(late, session_id=session, flow="technical-analysis")
        name = Asker("shop").session_name(session)
        house.client.delete(wire.session_key(name), wire.line_key(name))
        await ask(producer, session)
        await producer.wait(slow.query_id, 30)
        turns = await producer.history(session)

    assert late not in [turn.question for turn in turns]


async def test_over_http_the_program_that_holds_the_token_names_the_user(house: BridgeHouse, bridge: Bridge) -> None:
    session = f"s-{uuid.uuid4().hex[:8]}"
    await bridge.call(
        Asker("shop", "ann"), "flowise_query", {"question": "Write a poem", "session_id": session, "wait_s": 20}
    )

    mine = await bridge.call(Asker("shop", "ann"), "flowise_session_history", {"session_id": session})
    others = [
        await bridge.call(other, "flowise_session_history", {"session_id": session})
        for other in (Asker("shop", "bea"), Asker("shop"), Asker("rival", "ann"))
    ]

    assert len(mine["result"]["structuredContent"]["turns"]) == 1
    assert all(each["result"]["isError"] for each in others)


async def test_over_stdio_the_command_names_the_user(house: BridgeHouse) -> None:
    from mcp import Client
    from mcp.client.stdio import stdio_client

    session = f"s-{uuid.uuid4().hex[:8]}"
    async with Client(stdio_client(house.stdio("--user", "ann"))) as client:
        await client.call_tool("flowise_query", {"question": "Write a poem", "session_id": session, "wait_s": 20})
    async with AsyncProducer(house.settings, user="ann") as producer:
        assert len(await producer.history(session)) == 1
