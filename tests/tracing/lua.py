"""Run a few lines of Lua behind the package's own, as its scripts do."""

from __future__ import annotations

from importlib import resources
from typing import Any

from redis.asyncio import Redis

_FOLDER = resources.files("agentic_flywheel").joinpath("lua")
_SHARED = "\n".join(_FOLDER.joinpath(f"{part}.lua").read_text() for part in ("tally", "prelude"))


async def run_lua(client: Redis, code: str, *args: str | int) -> Any:
    return await client.eval(f"{_SHARED}\n{code}", 0, *args)  # type: ignore[misc]


async def put_record(client: Redis, query_id: str, **fields: str | int) -> None:
    """Put a record there as a submission leaves it."""
    given = {"state": "running", "owner": "ada", "query": '{"question":"Why?"}', "created": 1000, "ttl": 3600}
    await client.hset(f"flywheel:query:{query_id}", mapping={**given, **fields})  # type: ignore[misc]
