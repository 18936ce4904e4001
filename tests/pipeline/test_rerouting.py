"""A question that went to the wrong flow is asked again of the right one, and what that teaches is kept."""

from __future__ import annotations

import pytest

from agentic_flywheel.errors import InvalidQuery, UnknownFlow, UnknownQuery
from agentic_flywheel.learning.lessons import load_lessons
from producer import AsyncProducer


async def test_a_re_routed_question_is_answered_by_the_right_flow_and_remembered(producer: AsyncProducer) -> None:
    first = await producer.ask("Write a poem about the docker database", flow="technical-analysis", wait=20)
    submission = await producer.reroute(first.query_id, "creative-orientation")
    answer = await producer.wait(submission.query_id, 20)
    record = await producer.status(submission.query_id)
    await producer.score(first.query_id, 2)

    assert (first.flow, answer.flow) == ("technical-analysis", "creative-orientation")
    assert record.query.question == "Write a poem about the docker database"
    assert record.query.metadata == {"reroute_of": first.query_id}
    lessons = {each.kind: each for each in await load_lessons(producer.batch) if each.query_id == first.query_id}
    assert lessons["reroute"].flows == ("technical-analysis",)
    assert lessons["reroute"].right == "creative-orientation"
    assert lessons["score"].good is False


async def test_only_another_flow_that_exists_and_a_query_of_one_s_own_can_be_re_routed(producer: AsyncProducer) -> None:
    first = await producer.ask("Which index does this join need?", wait=20)

    with pytest.raises(InvalidQuery, match="already"):
        await producer.reroute(first.query_id, "technical-analysis")
    with pytest.raises(UnknownFlow):
        await producer.reroute(first.query_id, "nowhere")
    with pytest.raises(UnknownQuery):
        await producer.acting_for("eve").reroute(first.query_id, "creative-orientation")


async def test_a_question_that_fits_nowhere_is_kept_and_one_that_fits_is_not(producer: AsyncProducer) -> None:
    foreign = await producer.ask("Qual é a capital da Mongólia?", cache="bypass", wait=20)
    usual = await producer.ask("Write a poem about the sea", cache="bypass", wait=20)

    kept = {lesson.query_id for lesson in await load_lessons(producer.batch) if lesson.kind == "unrouted"}

    assert foreign.band == "low"
    assert foreign.query_id in kept
    assert usual.query_id not in kept
