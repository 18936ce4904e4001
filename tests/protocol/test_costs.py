"""What a query costs the broker: figures that grow with every feature, unless somebody looks."""

from __future__ import annotations

from collections import Counter

from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.declaration import Script
from protocol.lua_names import parsed
from protocol.test_cache_bound import FLOW, asked, with_room

#: Commands that the four scripts of a plain query run: as many as when they were last counted.
MOST_COMMANDS = 80
#: Functions that a script makes each time it runs, usually, its own included.
MOST_FUNCTIONS = {
    "submit": 12,
    "route": 13,
    "begin": 14,
    "finish": 26,
    "transport/fetch": 8,
    "transport/settle": 14,
}


async def commands(client: Redis) -> Counter[str]:
    stats = await client.info("commandstats")
    return Counter({name: told["calls"] for name, told in stats.items()})


async def test_the_scripts_of_a_query_run_no_more_commands_than_they_did(batch: Batch, redis_client: Redis) -> None:
    transitions = with_room(batch)
    await asked(transitions, FLOW, "which loads the scripts")
    # Nobody takes its messages, behind which others would wait.
    await redis_client.delete(wire.CLASSIFY_QUEUE, wire.domain_queue(FLOW.domain))
    before = await commands(redis_client)
    await asked(transitions, FLOW, "which is counted")

    ran = await commands(redis_client) - before
    ours = {"cmdstat_evalsha", "cmdstat_info"}
    assert ran["cmdstat_evalsha"] == 4
    assert sum(number for name, number in ran.items() if name not in ours) <= MOST_COMMANDS, ran


def test_a_script_makes_no_more_functions_at_each_call_than_it_did() -> None:
    """More is a call that ``seldom.`` should stand before: see ``assembly``."""
    made = {
        name: [each.type for each in parsed(Script(name).source).named_children].count("function_declaration")
        for name in MOST_FUNCTIONS
    }

    assert {name: number for name, number in made.items() if number > MOST_FUNCTIONS[name]} == {}, made
