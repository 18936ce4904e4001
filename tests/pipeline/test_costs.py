"""What answers cost: by the registry's prices, once for each call, and never a guess."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from agentic_flywheel.asker import LOCAL
from agentic_flywheel.backends import FlowAnswer
from agentic_flywheel.catalog import Flow
from agentic_flywheel.figures.metrics import Exposition
from agentic_flywheel.figures.usage import Dimension, UsageRow, read_usage
from agentic_flywheel.models import Answer, FlowStep, Usage
from agentic_flywheel.prices import FREE, MOST_COUNTED, Cost, Price, Prices, cost_told, rounded, together
from pipeline.house import DOCUMENTS, TECHNICAL, House
from pipeline.test_control import fresh
from producer import AsyncProducer
from workers.pricing import priced

ASKED = "Which python database index should I plot?"
BOTH = "Which python database index helps, and which clause of the contract covers liability?"


@pytest.fixture(autouse=True)
def figures(house: House) -> None:
    """An empty sheet: no figure of an earlier test."""
    for key in house.client.scan_iter("flywheel:tally:*"):
        house.client.delete(key)


def by_hand(answer: Answer) -> Cost:
    """The cost by the prices of the house: 2.50 and 10 dollars a million."""
    assert answer.usage is not None
    tokens = answer.usage.input_tokens * Decimal("2.5") + answer.usage.output_tokens * 10
    return Cost(amount=tokens / 1_000_000, currency="USD")


async def rows(producer: AsyncProducer, by: Dimension) -> dict[str, UsageRow]:
    return {row.name: row for row in (await read_usage(producer.batch, producer.catalog, by=by)).rows}


async def test_an_answer_costs_what_its_tokens_cost_and_its_copies_nothing(
    producer: AsyncProducer, house: House
) -> None:
    house.build(TECHNICAL, style="maker")
    house.behave(TECHNICAL, latency=0.3)
    question = fresh(ASKED)

    leader, follower = await asyncio.gather(*(producer.ask(question, wait=20) for _ in range(2)))
    if leader.attached_to:
        leader, follower = follower, leader
    again = await producer.ask(question, wait=20)

    assert leader.cost == by_hand(leader) != FREE
    assert leader.steps[1].usage is not None
    assert leader.steps[1].usage.cost == leader.cost
    assert follower.attached_to == leader.query_id
    for spared in (follower, again):
        assert spared.cost == FREE
        assert spared.usage is not None
        assert spared.usage.cost == leader.cost, "what was saved"
    kept = (await producer.status(again.query_id)).answer
    assert kept is not None
    assert kept.cost == FREE
    for by, name in (("flow", "technical-analysis"), ("domain", "technical"), ("user", LOCAL)):
        row = (await rows(producer, by))[name]  # type: ignore[arg-type]
        assert (row.queries, row.costs, row.cost_unknown) == (3, (leader.cost,), 0)
    root = house.traced(leader.query_id, "flow-execution")
    assert "usage" not in root, "the step tells it"
    step = house.traced(leader.query_id, "step Agent 0")
    assert Usage.model_validate({**step["usage"], "model": "sandbox"}).cost == leader.cost


async def test_a_cost_that_is_not_known_is_unknown_and_counted(producer: AsyncProducer, house: House) -> None:
    house.build(DOCUMENTS, style="finder")

    plain = await producer.ask(fresh("Write a poem about the sea"), flow="creative-orientation", wait=20)
    told = await producer.ask(fresh(BOTH), flow="document-qa", wait=20)

    assert plain.usage is None
    assert plain.cost is None, "its flow tells no tokens: that is not 0"
    assert told.cost == by_hand(told)
    found = await rows(producer, "flow")
    assert (found["creative-orientation"].costs, found["creative-orientation"].cost_unknown) == ((), 1)
    assert (found["document-qa"].costs, found["document-qa"].cost_unknown) == ((told.cost,), 0)
    written = (await Exposition(lambda: producer.batch, lambda: producer.catalog).written()).decode()
    assert 'flywheel_cost_unknown_total{domain="creative",flow="creative-orientation"} 1.0' in written
    paid = float(told.cost.amount)
    assert f'flywheel_cost_total{{currency="USD",domain="documents",flow="document-qa"}} {paid}' in written


async def test_the_parts_of_an_answer_are_paid_one_by_one_and_the_whole_is_their_sum(
    producer: AsyncProducer, house: House
) -> None:
    house.build(TECHNICAL, style="maker")
    house.build(DOCUMENTS, style="finder")

    answer = await producer.ask(fresh(BOTH), wait=20)

    assert len(answer.parts) == 2
    paid = [part.cost for part in answer.parts]
    assert all(cost is not None and cost.amount > 0 for cost in paid)
    assert answer.cost == by_hand(answer)
    found = await rows(producer, "flow")
    assert [found[part.flow].costs for part in answer.parts] == [(cost,) for cost in paid]
    assert (await rows(producer, "user"))[LOCAL].costs == (answer.cost,)


PRICES = Prices(
    currency="EUR",
    models={
        "big": Price(input=Decimal(10), output=Decimal(30), cached_input=Decimal(1)),
        "small": Price(input=Decimal(1), output=Decimal(2)),
    },
)


def used(tokens_in: int, tokens_out: int, model: str | None, cached: int = 0) -> Usage:
    return Usage(
        input_tokens=tokens_in,
        cached_input_tokens=cached,
        output_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out,
        model=model,
    )


def step(usage: Usage | None) -> FlowStep:
    return FlowStep(id="a", name="a", status="finished", usage=usage)


@pytest.mark.parametrize(
    ("usage", "steps", "cost"),
    [
        (used(100, 10, "big", cached=90), (), "0.00049 EUR"),
        (used(100, 10, None), (), "0.00012 EUR"),  # the flow's own model
        (used(100, 10, "other"), (), None),
        (used(0, 0, "big"), (), None),  # a server that counts nothing does not know
        (used(0, 10, "big"), (), None),  # nor one that counts half of it
        (used(100, 10, "big").model_copy(update={"total_tokens": 150}), (), None),
        (None, (), None),
        # Two models have answered; together they have no name.
        (used(200, 20, None), (step(used(100, 10, "big")), step(None), step(used(100, 10, "small"))), "0.00142 EUR"),
        (used(200, 20, None), (step(used(100, 10, "big")), step(used(100, 10, "other"))), None),
        # A part of the tokens was no step's: whose they are is not known.
        (used(300, 30, None), (step(used(100, 10, "big")),), None),
    ],
)
def test_what_a_flow_tells_is_priced_by_model_and_no_cost_is_guessed(
    usage: Usage | None, steps: tuple[FlowStep, ...], cost: str | None
) -> None:
    flow = Flow(key="f", id="f", domain="d", model="small")

    found = priced(FlowAnswer(text="so", usage=usage, steps=steps), flow, PRICES)

    assert (str(found.usage.cost) if found.usage and found.usage.cost else None) == cost
    assert priced(FlowAnswer(usage=usage), flow, Prices()).usage == usage


@pytest.mark.parametrize(
    ("told", "tokens"),
    [(7, 7), (7.0, 7), (0, 0), (-7, 0), (True, 0), ("7", 0), (None, 0), (7.5, 0), (float("inf"), 0), (10**40, 0)],
)
def test_tokens_that_cannot_be_are_not_counted(told: object, tokens: int) -> None:
    used = Usage.model_validate({"input_tokens": told, "cached_input_tokens": told, "output_tokens": told})

    assert (used.input_tokens, used.cached_input_tokens, used.output_tokens) == (tokens, tokens, tokens)


def test_what_calls_cost_is_added_up_however_much_a_server_says_that_it_was(house: House) -> None:
    dear = Prices(currency="USD", models={"m": Price(input=Decimal(10**9), output=Decimal(10**9))})
    cost = dear.cost("m", input_tokens=10**12, cached=10**12 + 1, output_tokens=10**12)
    assert cost is not None

    hour = [house.client.hincrby("flywheel:tally:dear", "c|USD|f|dear", cost.parts) for _ in range(1_000)]

    assert Cost.of_parts(hour[-1], "USD") == Cost(amount=Decimal(1_000 * MOST_COUNTED), currency="USD")
    assert Cost(amount=Decimal("1.25"), currency="USD").parts == 1_250_000_000


def test_a_sum_with_an_unknown_part_or_in_two_currencies_is_unknown() -> None:
    one, other = Cost(amount=Decimal("0.1"), currency="USD"), Cost(amount=Decimal("0.2"), currency="USD")

    assert str(together([one, FREE, other])) == "0.3 USD"
    assert together([one, None]) is None
    assert together([one, Cost(amount=Decimal(1), currency="EUR")]) is None
    assert together([]) is None
    assert str(together([FREE])) == "0"
    assert [rounded(Cost(amount=Decimal(each), currency="USD")) for each in ("0", "0.000054", "0.0999", "12.345")] == [
        "0 USD",
        "0.000054 USD",
        "0.100 USD",
        "12.34 USD",
    ]
    assert [cost_told(each) for each in (str(one), "0", None, "x USD", "-1 USD", "NaN USD")] == [
        one,
        FREE,
        None,
        None,
        None,
        None,
    ]
