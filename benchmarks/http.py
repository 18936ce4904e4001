"""What the HTTP gateway adds to a query: ``python -m benchmarks.http [--json] [--repeats N] [--count N]``.

Starts its own broker, flow server, worker and gateway. Requests go one at a time for their latency, in turns with the
no-op route of the same server (`/healthz`): ``added_p50_ms`` and ``ratio`` are beyond it, ``cpu_ms`` is the gateway's
processor time for each request. Then 200 streams are open at once. Figures are medians over the repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvloop
from rich.table import Table

from benchmarks.lab.arguments import at_least
from benchmarks.lab.measure import closed_loop, median, quantile
from benchmarks.lab.parts import Lab, LabProcess, lab, wait_until
from benchmarks.lab.table import console

Row = dict[str, Any]
Work = Callable[[int], Awaitable[object]]
AT_ONCE = 32
STREAMS = 200
QUESTION = {"question": "How do I connect PostgreSQL to Python?"}


class GatewayProcess(LabProcess):
    """A server process whose memory is measured."""

    def resident_mb(self) -> float:
        return float(self._seen.memory_info().rss) / 2**20

    def processor_ms(self) -> float:
        """Return the processor time that it has used, which other load on the machine changes little."""
        used = self._seen.cpu_times()
        return 1000 * float(used.user + used.system)


class HttpClient:
    """Speaks to the gateway over connections that are kept open."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self._fresh = session, url, itertools.count()

    async def get(self, path: str, **params: str | int) -> dict[str, Any]:
        async with self._session.get(self._url + path, params=params) as response:
            return await _read(response)

    async def ask(self, question: str, **params: str | int) -> dict[str, Any]:
        body = {"question": question}
        async with self._session.post(f"{self._url}/v1/queries", json=body, params=params) as response:
            return await _read(response)

    async def follow(self, query_id: str) -> float:
        """Read the events of a query to their end. Returns when the first one came, in seconds of a steady clock."""
        first = 0.0
        async with self._session.get(f"{self._url}/v1/queries/{query_id}/events") as response:
            async for line in response.content:
                if line.startswith(b"event:"):
                    first = first or time.perf_counter()
                if line.startswith(b"event: final"):
                    return first
        raise RuntimeError(f"the stream of {query_id} ended without its end")

    def works(self, query_id: str) -> dict[str, Work]:
        """Return what is measured, the no-op route first."""
        return {
            "no-op": lambda _: self.get("/healthz"),
            "cached": lambda _: self.ask(**QUESTION),
            "polled": lambda _: self.get(f"/v1/queries/{query_id}"),
            "submitted": lambda _: self.ask(f"Why is Python number {next(self._fresh)} slow?"),
        }


async def _read(response: aiohttp.ClientResponse) -> dict[str, Any]:
    told: dict[str, Any] = await response.json(content_type=None)
    if response.status >= 400:
        raise RuntimeError(told)
    return told


async def timed(work: Work, count: int) -> list[float]:
    """Return how long each of so many requests took, one after another, in milliseconds."""
    taken = []
    for number in range(count):
        start = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - start) * 1000)
    return taken


async def measure(client: HttpClient, served: GatewayProcess, repeats: int, count: int) -> list[Row]:
    """Return a row for the no-op route and one for each kind of request, measured in turns."""
    asked = await client.ask(**QUESTION, wait=50)
    works = client.works(asked["query_id"])
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in works}
    used: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        await timed(work, 50)
    for _ in range(repeats):
        for name, work in works.items():
            before = served.processor_ms()
            taken = await timed(work, count)
            used[name].append((served.processor_ms() - before) / count)
            rate = await closed_loop(work, count=4 * count, at_once=AT_ONCE)
            seen[name].append((quantile(taken, 0.5), quantile(taken, 0.99), rate))
    p50s = {name: median([p50 for p50, _, _ in runs]) for name, runs in seen.items()}
    p99s = {name: median([p99 for _, p99, _ in runs]) for name, runs in seen.items()}
    return [
        {
            "name": name,
            "ratio": round(p50s[name] / p50s["no-op"], 2),
            "added_p50_ms": round(p50s[name] - p50s["no-op"], 3),
            "p50_ms": round(p50s[name], 3),
            "p99_ms": round(p99s[name], 3),
            "p99_ratio": round(p99s[name] / p99s["no-op"], 2),
            "cpu_ms": round(median(used[name]), 2),
            "requests_per_s": round(median([rate for _, _, rate in runs]), 1),
        }
        for name, runs in seen.items()
    ]


async def stream_together(client: HttpClient, served: GatewayProcess) -> Row:
    """Return how long many streams take that are open at once, whose flow takes a second, and what they need."""
    before, firsts = served.resident_mb(), list[float]()

    async def one(number: int) -> None:
        asked = await client.ask(f"[sleep 1000] Why is Python slow, stream {number}?")
        begun = time.perf_counter()
        firsts.append((await client.follow(asked["query_id"]) - begun) * 1000)

    start = time.perf_counter()
    streaming = asyncio.gather(*map(one, range(STREAMS)))
    await asyncio.sleep(0.9)
    during = served.resident_mb()
    noop = await timed(lambda _: client.get("/healthz"), 50)
    await streaming
    return {
        "name": f"{STREAMS} streams",
        "seconds": round(time.perf_counter() - start, 2),
        "flow_s": 1.0,
        "first_event_p50_ms": round(quantile(firsts, 0.5), 1),
        "no_op_p99_ms": round(quantile(noop, 0.99), 2),
        "rss_mb": round(during, 1),
        "rss_before_mb": round(before, 1),
    }


async def measured(here: Lab, env: dict[str, str], repeats: int, count: int) -> list[Row]:
    command = [sys.executable, "-m", "http_gateway", "--port", "0"]
    gateway = GatewayProcess(command, log=here.folder / "gateway.log", env=env)
    try:
        wait_until(lambda: "serves" in gateway.log.read_text(), what="gateway")
        told = re.search(r"serves (\S+)", gateway.log.read_text())
        assert told is not None
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            client = HttpClient(session, told[1])
            rows = await measure(client, gateway, repeats, count)
            rows.append(await stream_together(client, gateway))
        return rows
    finally:
        gateway.stop()


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one JSON object a row")
    asked.add_argument("--repeats", type=at_least(1), default=3)
    asked.add_argument("--count", type=at_least(1), default=500, help="requests one after another, in each repeat")
    given = asked.parse_args()
    with lab() as here:
        _, broker = here.broker()
        _, flows = here.flows(5)
        env = {**here.environment(broker, flows), "LANGFUSE_TRACING_ENABLED": "false"}
        here.worker("worker", env)
        rows = uvloop.run(measured(here, env, given.repeats, given.count))
    if given.json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    columns = ("ratio", "added_p50_ms", "p50_ms", "p99_ms", "p99_ratio", "cpu_ms", "requests_per_s")
    table = Table("name", *columns)
    for row in rows[:-1]:
        table.add_row(row["name"], *(str(row.get(column, "")) for column in columns))
    console().print(table)
    console().print(", ".join(f"{name} {value}" for name, value in rows[-1].items()))


if __name__ == "__main__":
    main()
