from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import asker_counted
from agentic_flywheel.figures.tally import Tally, add_up, hour_of, percentile, read_hours, upper_bound
from agentic_flywheel.prices import Cost
from tracing.lua import put_record, run_lua

FINISH = """
local id, state, cached, error_type, now = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4], tonumber(ARGV[5])
local outcome = {failure = '{}', reason = 'why', cached = cached}
if state == 'succeeded' then outcome.answer = '{"text":"x"}' end
if state == 'failed' then outcome.error = '{}' outcome.error_type = error_type end
return finalise(id, state, outcome, now) and 1 or 0
"""


async def figures(batch: Batch, moment_ms: int) -> Tally:
    return add_up((await read_hours(batch, [moment_ms // 3_600_000])).values())


async def test_what_ends_is_counted_once_by_flow_owner_and_intent(batch: Batch, redis_client: Redis) -> None:
    await put_record(redis_client, "q1", flow="a", intent="databases", started=1500)
    await put_record(redis_client, "q2", flow="a", owner="eve|x", intent="")
    for _ in range(2):
        await run_lua(redis_client, FINISH, "q1", "succeeded", 0, "", 3000)
    await run_lua(redis_client, FINISH, "q2", "failed", 0, "FlowTimeout", 61_000)

    found = await figures(batch, 3000)

    flow = found.flows["a"]
    assert (flow.queries(), flow.queries("succeeded"), flow.queries("failed")) == (2, 1, 1)
    assert flow.errors == Counter({"FlowTimeout": 1})
    assert flow.waits.total() == 1
    assert found.users == Counter({"ada": 1, "eve|x": 1})
    assert found.intents == Counter({"databases": 1})


async def test_a_cached_answer_and_a_cancelled_query_are_told_apart(batch: Batch, redis_client: Redis) -> None:
    await put_record(redis_client, "q1", flow="a")
    await run_lua(redis_client, FINISH, "q1", "succeeded", 1, "", 3000)
    await put_record(redis_client, "q2")
    await run_lua(redis_client, FINISH, "q2", "cancelled", 0, "", 3000)

    found = await figures(batch, 3000)

    assert found.flows["a"].queries("cached") == 1
    assert found.flows["(none)"].queries("cancelled") == 1


async def test_what_calls_cost_is_counted_for_so_many_names_and_no_more(batch: Batch, redis_client: Redis) -> None:
    await put_record(redis_client, "q1", owner="ada", intent="databases")
    for spent in ("1500000000", "250", "", "0"):
        await run_lua(redis_client, "tally_cost('q1', 'a', ARGV[1], 'USD', 2000)", spent)
    for currency in ("USD", "EUR"):
        many = (
            "for i = 1, 1999 do tally_one(hour_of(2000), 'u|' .. i, 'u|') end tally_cost('q1', 'b', '7', ARGV[1], 2000)"
        )
        await run_lua(redis_client, many, currency)

    found = await figures(batch, 2000)

    assert found.spending["f"]["a"].costs() == (Cost.of_parts(1_500_000_250, "USD"),)
    assert str(found.spending["f"]["a"].costs()[0]) == "1.50000025 USD"
    assert found.spending["f"]["a"].unknown == found.spending["u"]["ada"].unknown == 1
    assert found.spending["i"]["databases"].parts == Counter({"USD": 1_500_000_257, "EUR": 7})
    # Ada's sum in another currency is a name more than an hour has.
    assert found.spending["u"]["ada"].parts == Counter({"USD": 1_500_000_257})
    assert found.spending["u"]["(others)"].parts == Counter({"EUR": 7})
    names = await redis_client.hkeys(wire.tally_key(0))
    assert {each for each in names if asker_counted(str(each)) == "ada"} == {"c|USD|u|ada", "x|u|ada"}


async def test_figures_expire_and_their_names_are_bounded(batch: Batch, redis_client: Redis) -> None:
    await run_lua(redis_client, "for i = 1, 3000 do tally_names(hour_of(2000), 'user' .. i) end", 0)

    found = await figures(batch, 2000)

    assert found.users["(others)"] > 900
    assert found.users.total() == 3000
    assert len(found.users) < 2100
    assert 0 < await redis_client.ttl(wire.tally_key(0)) <= timedelta(days=14).total_seconds()


async def test_latencies_are_exact_to_a_tenth(batch: Batch, redis_client: Redis) -> None:
    for latency in (1, 7, 90, 1000, 12_345, 3_600_000):
        await redis_client.flushdb()
        await run_lua(redis_client, f"tally_flow(hour_of({latency}), 'a', nil, 'succeeded', nil, 0, nil, {latency})")
        (hour,) = [int(str(key).rpartition(":")[2]) for key in await redis_client.keys("flywheel:tally:*")]
        histogram = add_up((await read_hours(batch, [hour])).values()).flows["a"].latencies["succeeded"]

        found = percentile(histogram, 0.5)

        assert found is not None
        assert found.total_seconds() * 1000 == pytest.approx(latency, rel=0.1, abs=0.3)


def test_percentiles_of_many() -> None:
    histogram = Counter({0: 50, 40: 45, 60: 5})

    p50, p95, p99 = (percentile(histogram, share) for share in (0.5, 0.95, 0.99))

    assert p50 is not None
    assert p95 is not None
    assert p99 is not None
    assert p50 <= timedelta(milliseconds=2)
    assert timedelta(seconds=1) < p95 <= timedelta(seconds=1.22)
    assert timedelta(seconds=32) < p99 < timedelta(seconds=39)
    assert percentile(Counter(), 0.5) is None


def test_bounds_of_octaves_lie_one_after_the_other() -> None:
    bounds = [upper_bound(octave) for octave in range(88)]

    assert bounds == sorted(bounds)
    assert bounds[39] == pytest.approx(1.024)


def test_hours_add_up_and_later_figures_are_passed_over() -> None:
    one = {"q|a|succeeded|3": 2, "u|ada": 2, "i|x": 1, "s|a": 155, "n|a": 2, "-" * 65: 0, "z|new": 1}

    found = add_up([one, one])

    assert found.flows["a"].queries() == 4
    assert (found.flows["a"].score_sum, found.flows["a"].score_count) == (31.0, 4)
    assert found.users == Counter({"ada": 4})


def test_an_hour_begins_with_its_number() -> None:
    assert hour_of(datetime(1970, 1, 1, 5, 59, tzinfo=UTC)) == 5
