"""The caller's side of another task queue: it does what its input says, and prints what came of it.

A line of JSON each way. ``{"count": 2000, "at_once": 200}`` is a closed loop, which returns ``queries_per_s``;
``{"per_second": 50, "seconds": 5, "flow_ms": 200}`` an open one, which returns the added milliseconds of each query.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.lab.measure import Ask, closed_loop, open_loop


async def serve(ask: Ask) -> None:
    """Ask as the input says, until it ends. ``ask`` gets a number and puts a question of its own."""
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if "count" in asked:
            print(json.dumps({"queries_per_s": await closed_loop(ask, **asked)}), flush=True)
        else:
            print(json.dumps({"added_ms": await open_loop(ask, **asked)}), flush=True)


def domain_of(question: str) -> str:
    """Decide by keyword, as ``benchmarks.lab.naive`` does."""
    words = question.lower()
    return "technical" if "python" in words else "creative" if "story" in words else "documents"
