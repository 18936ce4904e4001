"""Asking under a profile on running workers: what reaches the flow, who may, and what is shared."""

from __future__ import annotations

import asyncio

import pytest
from celery import Celery

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.sessions import load_session
from agentic_flywheel.errors import InvalidProfile, InvalidQuery, ProfileNotServed, UnknownProfile
from agentic_flywheel.models import State
from producer import AsyncProducer
from profiles.house import ProfileHouse, fresh, session


async def test_the_profile_s_text_stands_before_the_question(alice: AsyncProducer, house: ProfileHouse) -> None:
    question = fresh("Which database index does this python service need?")

    answer = await alice.ask(question, profile="payments", wait=20)

    sent = house.received_one(question)["question"]
    assert "Technical context:\n- Stack: Python 3.12; PostgreSQL 16" in sent
    assert "Portugal" not in sent
    assert (answer.profile, answer.private) == ("payments", False)
    record = await alice.status(answer.query_id)
    assert record.query.question == question


@pytest.mark.parametrize(("flow", "override"), [("by-system", "systemMessage"), ("by-vars", "vars")])
async def test_a_flow_may_get_it_as_system_message_or_as_variables(
    alice: AsyncProducer, house: ProfileHouse, flow: str, override: str
) -> None:
    question = fresh("What is our rule for amounts?")

    await alice.ask(question, flow=flow, profile="payments", context_type="technical", wait=20)

    body = house.received_one(question)
    assert body["question"] == question
    sent = body["overrideConfig"][override]
    if flow == "by-system":
        assert sent.startswith("Be brief.\n\n")
        assert sent.endswith("python service, database")
    else:
        assert "Money is an integer of cents." in sent["profile_context"]
        assert sent["profile_context_type"] == "technical"


async def test_a_context_of_the_question_s_own_goes_with_it_and_stays_out_of_the_conversation(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    conversation, question, follow_up = session(), fresh("What is the rule for that clause?"), fresh("And then?")
    context = "A shop for used bicycles.\nIts contracts are in Portuguese."

    answer = await alice.ask(question, context=context, session_id=conversation, flow="documents", wait=20)
    await alice.ask(follow_up, session_id=conversation, flow="documents", wait=20)
    by_system = fresh("What is our rule for amounts?")
    await alice.ask(by_system, flow="by-system", context=context, wait=20)

    assert house.received_one(question)["question"].endswith(f"{context}\n\n{question}")
    assert (answer.profile, answer.private) == (None, False)
    assert [message["content"] for message in house.received_one(follow_up)["history"]] == [question, answer.text]
    assert house.received_one(by_system)["overrideConfig"]["systemMessage"].endswith(context)


async def test_its_keywords_lean_the_route(alice: AsyncProducer) -> None:
    question = fresh("How do we make that page quicker?")

    record = await alice.status((await alice.ask(question, profile="payments", wait=20)).query_id)

    assert record.route is not None
    assert [each.flow for each in record.route.evidence if each.kind == "profile"] == ["technical"]


async def test_under_an_open_profile_two_owners_share_an_answer_and_under_a_confidential_one_they_do_not(
    alice: AsyncProducer, bob: AsyncProducer, house: ProfileHouse
) -> None:
    bella = alice.acting_for("bella")
    shared, private, at_once = (fresh("Which index does this query need?") for _ in range(3))

    open_answers = [await each.ask(shared, profile="payments", wait=20) for each in (alice, bob)]
    answers = [await each.ask(private, profile="vault", wait=20) for each in (alice, bella, alice)]
    together = await asyncio.gather(*(each.ask(at_once, profile="vault", wait=20) for each in (alice, bella)))
    without = await bob.ask(private, wait=20)

    assert [each.cached for each in open_answers] == [False, True]
    assert [each.cached for each in answers] == [False, False, True]
    assert answers[0].cache_key != answers[1].cache_key
    assert all(each.private and each.profile == "vault" for each in (*answers, *together))
    assert [each.attached_to for each in together] == [None, None]
    assert not without.cached
    assert len(house.received(private)) == 3
    assert len(house.received(at_once)) == 2


async def test_who_is_no_owner_is_refused_at_once(bob: AsyncProducer, house: ProfileHouse) -> None:
    before = set(house.client.keys("flywheel:query:*"))

    for name, error in (("vault", UnknownProfile), ("nowhere", UnknownProfile), ("broken", InvalidProfile)):
        with pytest.raises(error) as caught:
            await bob.submit("What is the price?", profile=name)
        assert len(caught.value.describe().recovery_suggestions) >= 3

    assert set(house.client.keys("flywheel:query:*")) == before


async def test_a_producer_without_profiles_leaves_it_to_the_workers(house: ProfileHouse, alice: AsyncProducer) -> None:
    elsewhere = house.settings.model_copy(update={"profiles": house.folder / "not-there"})
    question = fresh("Which index does this query need?")
    async with AsyncProducer(elsewhere, owner="bob") as bob:
        for name, said in (("vault", "no profile 'vault' for you"), ("nowhere", "no profile"), ("broken", "privacy")):
            submission = await bob.submit(fresh("What is the price?"), profile=name)
            with pytest.raises(ProfileNotServed, match=said):
                await bob.wait(submission.query_id, 20)
            assert (await bob.status(submission.query_id)).state is State.FAILED
        first = await bob.ask(question, profile="payments", wait=20)
        again = await bob.ask(question, profile="payments", wait=20)

    assert [first.cached, again.cached] == [False, True]


async def test_a_changed_profile_gets_another_answer(alice: AsyncProducer, house: ProfileHouse) -> None:
    question = fresh("Which index does this query need?")
    house.write("changing", "description: d\ntechnical: We run MySQL.\n")
    first = await alice.ask(question, profile="changing", wait=20)
    house.write("changing", "description: d\ntechnical: We run SQLite.\n")
    await asyncio.sleep(0.6)

    again = await alice.ask(question, profile="changing", wait=20)

    assert not first.cached
    assert not again.cached
    assert ["MySQL" in body["question"] for body in house.received(question)] == [True, False]


async def test_a_session_carries_a_profile_and_a_query_may_name_another(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    conversation = session()
    assert (await alice.use_profile(conversation, "payments")).profile == "payments"
    with pytest.raises(UnknownProfile):
        await alice.use_profile(conversation, "nowhere")
    with pytest.raises(InvalidQuery):
        await alice.use_profile("two words", "payments")
    questions = [fresh("Which database index does python need?") for _ in range(3)]

    carried = await alice.ask(questions[0], session_id=conversation, wait=20)
    named = await alice.ask(questions[1], session_id=conversation, profile="vault", wait=20)
    await alice.use_profile(conversation, None)
    without = await alice.ask(questions[2], session_id=conversation, wait=20)

    assert [each.profile for each in (carried, named, without)] == ["payments", "vault", None]
    assert "PostgreSQL 16" in house.received_one(questions[0])["question"]
    assert house.received_one(questions[2])["question"] == questions[2]
    assert (await load_session(alice.batch, conversation, asker=Asker("alice"))).profile is None


async def test_a_plain_celery_client_s_session_carries_its_profile_too(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    conversation, question = session(), fresh("Which database index does python need?")
    await alice.use_profile(conversation, "payments")
    app = Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False)

    query = {"question": question, "session_id": conversation, "owner": "alice"}
    sent = app.send_task("flywheel.classify", [query], queue="classify")
    result = await asyncio.to_thread(sent.get, timeout=20)

    assert result["profile"] == "payments"
    assert "PostgreSQL 16" in house.received_one(question)["question"]


async def test_each_domain_of_a_question_for_several_is_told_the_profile(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    question = fresh("Which python database index helps, and which clause of the contract covers liability?")

    answer = await alice.ask(question, profile="vault", wait=20)

    assert {part.domain for part in answer.parts} == {"technical", "documents"}
    assert len(house.received(question)) == 2
    assert all("mainframes" in body["question"] for body in house.received(question))
    assert answer.private


async def test_a_question_of_the_greatest_length_still_fits_behind_a_profile(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    question = fresh("y" * 31_000)

    answer = await alice.ask(question, flow="technical", profile="payments", context_type="general", wait=20)

    assert answer.text
    assert len(house.received_one(question)["question"]) > 31_000
