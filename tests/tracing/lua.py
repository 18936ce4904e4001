"""Run a few lines of Lua behind the package's own, as its scripts do."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from agentic_flywheel.broker.assembly import assembled


async def run_lua(client: Redis, code: str, *args: str | int) -> Any:
    return await client.eval(assembled("test", code), 0, *args)


async def put_record(client: Redis, query_id: str, **fields: str | int) -> None:
    """Put a record there as a submission leaves it."""
    given = {"state": "running", "owner": "ada", "query": '{"question":"Why?"}', "created": 1000, "ttl": 3600, **fields}
    for name, value in given.items():
        await client.hset(f"flywheel:query:{query_id}", name, str(value))
