"""The questions that one flow has answered, asked of another: which are, with what was said before, and the verdict."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pipeline.house import DOCUMENTS, TECHNICAL, House
from pipeline.test_control import fresh
from replay.asked import Command, by_number, every
from replay.planted import failure, outcome, result, write

from agentic_flywheel.errors import UnknownFlow, UnusableSource
from agentic_flywheel.models import State
from agentic_flywheel.prices import FREE, Cost
from producer import AsyncProducer
from producer.replay import Replay, ReplayItem
from producer.replay.comparison import compare_results
from producer.replay.gate import read_gate
from producer.replay.items import ReplayItem as Item
from producer.replay.moves import moved
from producer.replay.reads import Note, Problem, Read
from producer.replay.report import write_report
from producer.replay.results import ItemResult
from producer.replay.summary import Summary

MOVE = {"technical-analysis": "document-qa"}


def usd(amount: str) -> Cost:
    return Cost(amount=Decimal(amount), currency="USD")


def a_move(
    count: int, *, old: str = "technical-analysis", new: str = "document-qa", price: float = 0.5, start: int = 1
) -> list[ItemResult]:
    """Results of a move to a flow that answers alike, as quickly, for this share of the price."""
    draw = random.Random(1)
    found = []
    for number in range(start, start + count):
        took, cost = draw.lognormvariate(6.6, 0.5), draw.randrange(1000, 5000)
        before = outcome("Paris", old, flow_ms=took, tokens=cost // 10, cost=usd(f"0.00{cost}"))
        after = outcome(
            "Paris",
            new,
            flow_ms=took * draw.uniform(0.98, 1.02),
            tokens=cost // 20,
            cost=usd(str(round(cost * price * draw.uniform(0.95, 1.05)) / 1_000_000)),
        )
        found.append(result(number, after, before, flow=new, moved_from=old))
    return found


async def compared(tmp_path: Path, results: list[ItemResult], gate: str = "") -> Summary:
    conditions = read_gate(gate) if gate else None
    return (await compare_results(write(tmp_path / "results.jsonl", results), name="run", gate=conditions)).summary


async def test_live_questions_are_asked_of_the_new_flow_with_what_was_said_before_and_without_the_old_server(
    house: House, tmp_path: Path
) -> None:
    house.build(TECHNICAL, style="maker")
    house.build(DOCUMENTS, style="finder")
    first, second = fresh("Which python database index should I plot?"), fresh("And of the docker build?")
    async with AsyncProducer(house.settings) as producer:
        one = await producer.ask(first, flow="technical-analysis", session_id="talk", wait=20)
        two = await producer.ask(second, flow="technical-analysis", session_id="talk", wait=20)
        await producer.ask(fresh("Which clause covers liability?"), flow="document-qa", wait=20)
    house.behave(TECHNICAL, fault="error_500")
    replay = Replay("records", out=tmp_path / "run", settings=house.settings, moves=MOVE, max_calls=1)

    (begun,) = await every(replay)
    resumed = Replay.resume(tmp_path / "run", settings=house.settings, max_calls=9)
    (rest,) = await every(resumed)

    asked = by_number([begun, rest])
    assert (replay.ending, resumed.ending) == ("calls", "complete")
    assert [each.item.question for each in asked] == [first, second]
    assert [each.outcome.flow_keys for each in asked] == [("document-qa",)] * 2
    assert [each.item.baseline.text for each in asked if each.item.baseline] == [one.text, two.text]
    (sent,) = [each for each in house.sent(second) if each.get("history")]
    assert [each["content"] for each in sent["history"]] == [first, one.text]
    assert sent["history"][1]["role"] == "apiMessage"
    assert len(house.sent(first)) == len(house.sent(second)) == 2, "the old flow was not asked again"
    summary = await write_report(tmp_path / "run")
    (move,) = summary.moves
    assert (move.before, move.after, move.items) == ("technical-analysis", "document-qa", 2)
    assert summary.headline is not None
    assert summary.headline.facts[0] == "document-qa was asked the 2 questions that technical-analysis has answered."
    assert summary.routes.changed == 0
    assert summary.tools.changed == 2
    assert summary.costs.spread.pairs == 2
    assert (summary.costs.unknown_before, summary.costs.unknown) == (0, 0)


async def test_flows_that_are_not_there_or_were_not_asked_are_told_before_anything_is_asked(
    house: House, tmp_path: Path
) -> None:
    given = [{"question": "Why?", "flow": "poet", "answer": "so"}, {"question": "How?", "flow": "poet"}]

    with pytest.raises(UnknownFlow, match="document-aq"):
        await every(Replay(given, out=tmp_path / "a", settings=house.settings, moves={"poet": "document-aq"}))
    with pytest.raises(UnusableSource) as told:
        await every(Replay(given, out=tmp_path / "b", settings=house.settings, moves=MOVE))

    assert "the flow 'technical-analysis' has answered none of its 2; in it are: poet (2)" in str(told.value)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


async def reads(*items: Read) -> AsyncIterator[Read]:
    for item in items:
        yield item


def item(number: int, before: Any = None, **more: Any) -> Item:
    return ReplayItem(number=number, id=str(number), question="Why?", baseline=before, **more)


async def test_only_what_the_old_flow_has_answered_is_taken() -> None:
    given = [
        item(1, outcome("so", "old"), domain="technical", intent="databases"),
        item(2, outcome("so", "other")),
        item(3, failure(flow="old")),
        item(4, outcome("which?", "old", kind="clarify")),
        item(5, outcome("both", flow_keys=("old", "other"))),
        item(6, outcome("so", flow_keys=()), flow="old"),
        item(7, failure(flow="old").model_copy(update={"stopped": True})),  # it asked a person, and nobody decided
    ]

    found = [each async for each in moved(reads(*given), {"old": "new"}, "a file")]

    asked = [each for each in found if isinstance(each, ReplayItem)]
    assert [(each.number, each.flow, each.moved_from, each.domain, each.intent) for each in asked] == [
        (1, "new", "old", None, None),
        (6, "new", "old", None, None),
        (7, "new", "old", None, None),
    ]
    (note,) = [each for each in found if isinstance(each, Note)]
    assert note.text == (
        "has 4 more that are left out: other (1), (not answered) (1), (asked back) (1), old + other (1)"
    )


async def test_an_export_that_names_no_flow_is_of_the_one_that_is_moved() -> None:
    told = outcome("so", flow_keys=())

    (one,) = [each async for each in moved(reads(item(1, told)), {"old": "new"}, "a file")]
    several = [
        each
        async for each in moved(
            reads(item(1, told), item(2, told, flow="a"), item(3, flow="c")), {"a": "b", "c": "d"}, "a file"
        )
    ]

    assert isinstance(one, ReplayItem)
    assert (one.flow, one.moved_from) == ("new", "old")
    assert isinstance(several[0], Problem)
    assert several[0].reason == "it does not say which flow answered it, and several are moved"
    assert [each.flow for each in several[1:] if isinstance(each, ReplayItem)] == ["b", "d"]


async def test_a_cheaper_flow_is_told_with_its_interval_and_held_to_a_gate(tmp_path: Path) -> None:
    summary = await compared(tmp_path, a_move(60), gate="cost_ratio<=1.1, route_changes<=0%, token_ratio<=1")

    ratio = summary.costs.spread.mean_ratio
    assert ratio is not None
    assert 0.47 < ratio.low < ratio.value < ratio.high < 0.53
    assert summary.gate_passed
    assert summary.gate[0].sentence.startswith("cost_ratio is 0.")
    assert "meets <= 1.100" in summary.gate[0].sentence
    assert summary.headline is not None
    (told,) = [each for each in summary.headline.facts if "cost" in each]
    assert told.startswith("Answers cost less: 0.00")
    assert "USD on average (−50 %, 95 % interval −51 % to −50 %)." in told
    assert any("tokens on average (−50 %" in each for each in summary.headline.facts)


async def test_a_dearer_flow_is_a_reservation_and_misses_the_gate(tmp_path: Path) -> None:
    results = a_move(60, price=1.4)

    dear = await compared(tmp_path, results)
    held = await compared(tmp_path, results, gate="cost_ratio<=1.1")

    assert dear.headline is not None
    assert (dear.headline.tone, dear.headline.line) == ("mixed", "Look before you move: answers cost more")
    assert not held.gate_passed
    assert held.headline is not None
    assert held.headline.line == "The gate fails: 1 of 1 condition missed"


async def test_a_cost_that_is_not_known_is_counted_and_is_never_nothing(tmp_path: Path) -> None:
    unpriced = [
        each.model_copy(update={"outcome": each.outcome.model_copy(update={"cost": None})}) for each in a_move(30)
    ]
    kept = [
        result(90 + n, outcome(cost=FREE, cached=True, flow_ms=None), outcome(cost=usd("9")), moved_from="a", flow="b")
        for n in range(3)
    ]

    summary = await compared(tmp_path, unpriced + kept, gate="cost_ratio<=1.1")

    assert summary.costs.spread.pairs == 0
    assert (summary.costs.unknown_before, summary.costs.unknown) == (0, 30)
    assert summary.costs.total == FREE
    assert not summary.gate_passed
    assert summary.gate[0].sentence == "cost_ratio is not known: there was nothing to measure it by"
    assert summary.headline is not None
    assert "What answers cost cannot be compared; that of 30 answers now is not known." in summary.headline.facts


async def test_sums_of_two_currencies_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    euros = Cost(amount=Decimal("0.002"), currency="EUR")
    paid = [
        result(n, outcome(cost=usd("0.001")), outcome(cost=euros if n > 1 else None), moved_from="a", flow="b")
        for n in range(1, 30)
    ]

    summary = await compared(tmp_path, paid)

    assert summary.headline is not None
    (told,) = [each for each in summary.headline.facts if "cost" in each]
    assert told == "What answers cost cannot be compared: before in EUR, now in USD."


async def test_old_results_without_a_cost_are_read(tmp_path: Path) -> None:
    line = json.loads(result(1, outcome(), outcome()).written())
    assert "cost" not in line["outcome"]

    summary = await compared(tmp_path, [ItemResult.model_validate(line)])

    assert (summary.costs.total, summary.costs.unknown) == (None, 1)
    assert summary.headline is not None
    assert not any("cost" in each for each in summary.headline.facts)


async def test_each_of_several_moves_has_its_own_verdict_and_failures_are_told_in_words(tmp_path: Path) -> None:
    dear = a_move(40, old="poet", new="bard", price=1.5, start=100)
    astray = result(500, outcome(flow="understudy"), outcome(flow="poet"), flow="bard", moved_from="poet")
    failing = [
        result(600 + n, failure("ProviderUnavailable", "bard"), outcome(flow="poet"), flow="bard", moved_from="poet")
        for n in range(20)
    ]

    summary = await compared(tmp_path, [*a_move(40), *dear, astray, *failing])

    one, other = summary.moves
    assert (one.after, one.headline.line) == ("document-qa", "Nothing got worse that this sample can show")
    assert (other.after, other.items, other.headline.tone) == ("bard", 61, "bad")
    assert other.headline.line == "More questions fail than before"
    assert "What failed now: 20 × ProviderUnavailable." in other.headline.facts
    assert any("1 question (1.6 %) went to another flow" in each for each in other.headline.facts), other.headline.facts


@pytest.mark.usefixtures("house")
def test_the_command_moves_flows_and_refuses_what_makes_no_sense(command: Command, tmp_path: Path) -> None:
    lines = [{"question": f"Which clause is number {n}?", "flow": "prose", "answer": "none"} for n in range(3)]
    given = tmp_path / "asked.jsonl"
    given.write_text("".join(f"{json.dumps(each)}\n" for each in lines))

    def said(*arguments: str) -> tuple[int, str, str]:
        process = command.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    moves = ("--flow", "prose=document-qa", "--out", str(command.out))
    code, out, err = said(str(given), *moves, "--gate", "errors<=0%, similarity>=0.99")

    assert (code, "3 of 3 asked" in out) == (1, True), out + err
    assert "document-qa was asked the 3 questions that prose has answered." in out
    assert [each.outcome.state for each in command.results()] == [State.SUCCEEDED] * 3
    assert json.loads((command.out / "replay.json").read_text())["options"]["moves"] == {"prose": "document-qa"}
    for arguments, why in (
        (("--flow", "a=b", "--flow", "a=c"), "asks 'a' of two flows"),
        (("--flow", "a=b", "--flow", "c"), "OLD=NEW as often as wanted"),
        (("--flow", "a="), "names no two flows"),
        (("--flow", "a=b", "--dry-run"), "--dry-run asks no flow"),
        (("--resume", str(command.out), "--flow", "a=b"), "stay as they were"),
    ):
        code, _, err = said(*((str(given), *arguments) if "--resume" not in arguments else arguments))
        assert code == 2
        assert why in " ".join(err.split()), err
