"""What the MCP bridge adds to a call: ``python -m benchmarks.mcp [--json] [--repeats N]``.

Starts its own broker, flow server, worker, bridge, and a no-op server made with the same SDK, over HTTP and over stdio,
in one run. Calls go one at a time for their latency, and 32 at a time for calls per second; ``added_p50_ms`` is beyond
the no-op tool of the same transport. Figures are medians over the repeats. The client speaks 2026-07-28 without an
SDK, so that it costs little itself.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import aiohttp
import uvloop
from pydantic import BaseModel
from rich.table import Table

from benchmarks.lab.arguments import at_least
from benchmarks.lab.measure import closed_loop, median, quantile
from benchmarks.lab.parts import ROOT, Lab, LabProcess, free_port, lab, wait_until
from benchmarks.lab.table import console

Row = dict[str, Any]
Params = Mapping[str, Any]
AT_ONCE = 32
WAITS = 200

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
}
QUESTION = {"question": "How do I connect PostgreSQL to Python?"}


class Served(LabProcess):
    """A server process whose memory is measured."""

    def resident_mb(self) -> float:
        return float(self._seen.memory_info().rss) / 2**20


# A server of the same SDK that does nothing


class EmptyResult(BaseModel):
    done: bool = True


def serve_nothing(transport: str) -> None:
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("nothing", log_level="WARNING")

    @server.tool()
    async def nothing(text: str = "") -> EmptyResult:
        """Do nothing."""
        return EmptyResult()

    if transport == "stdio":
        uvloop.run(server.run_stdio_async())
    else:
        import uvicorn

        app = server.streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(transport), log_level="warning", access_log=False)


# Two ways to call


class ToolCaller(Protocol):
    """Sends one request and returns its result."""

    async def __call__(self, method: str, params: Params) -> dict[str, Any]: ...


class HttpCaller:
    """Over streamable HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self._ids = session, url, itertools.count()

    async def __call__(self, method: str, params: Params) -> dict[str, Any]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
            "Mcp-Name": str(params.get("name") or params.get("uri")),
        }
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": {**params, "_meta": META}}
        async with self._session.post(self._url, json=body, headers=headers) as response:
            text = await response.text()
        if response.content_type == "text/event-stream":
            text = text.rsplit("data: ", 1)[1]
        return result_of(json.loads(text))


class StdioCaller:
    """Over the standard streams of a child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self._out.readline():
            message = json.loads(line)
            if (waiting := self._waiting.pop(message.get("id", -1), None)) is not None:
                waiting.set_result(message)

    async def __call__(self, method: str, params: Params) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": META}}
        self._in.write(json.dumps(body).encode() + b"\n")
        return result_of(await answer)


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = message["result"]
    if result.get("isError"):
        raise RuntimeError(result["content"][0]["text"])
    return result


def tool(name: str, **arguments: Any) -> Params:
    return {"name": name, "arguments": arguments}


# What is measured


async def timed(call: ToolCaller, method: str, params: Callable[[int], Params], *, count: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of calls that come one after another, in milliseconds."""
    taken = []
    for number in range(count):
        start = time.perf_counter()
        await call(method, params(number))
        taken.append((time.perf_counter() - start) * 1000)
    return quantile(taken, 0.5), quantile(taken, 0.99)


async def rate(call: ToolCaller, method: str, params: Callable[[int], Params], *, count: int) -> float:
    async def one(number: int) -> object:
        return await call(method, params(number))

    return await closed_loop(one, count=count, at_once=AT_ONCE)


Work = tuple[str, str, Callable[[int], Params]]


def works(query_id: str) -> list[Work]:
    """Return what is called on the bridge."""
    fresh = itertools.count()
    return [
        ("list-flows", "tools/call", lambda _: tool("flowise_list_flows")),
        ("cached-query", "tools/call", lambda _: tool("flowise_query", **QUESTION)),
        ("poll", "tools/call", lambda _: tool("flowise_poll", query_id=query_id)),
        (
            "submit",
            "tools/call",
            lambda _: tool("flowise_submit", question=f"Why is Python number {next(fresh)} slow?"),
        ),
        ("resource", "resources/read", lambda _: {"uri": "flowise://flows"}),
    ]


async def measure(transport: str, nothing: ToolCaller, bridge: ToolCaller, *, repeats: int, count: int) -> list[Row]:
    """Return a row for the no-op tool and one for each work of the bridge, measured in turns."""
    asked = await bridge("tools/call", tool("flowise_query", **QUESTION, wait_s=40))
    every: list[tuple[str, ToolCaller, str, Callable[[int], Params]]] = [
        ("no-op", nothing, "tools/call", lambda _: tool("nothing", text="x")),
        *((name, bridge, method, params) for name, method, params in works(asked["structuredContent"]["query_id"])),
    ]
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name, *_ in every}
    for caller, method, params in ((each[1], each[2], each[3]) for each in every):
        await timed(caller, method, params, count=50)
    for _ in range(repeats):
        for name, caller, method, params in every:
            p50, p99 = await timed(caller, method, params, count=count)
            seen[name].append((p50, p99, await rate(caller, method, params, count=4 * count)))
    floor = median([p50 for p50, _, _ in seen["no-op"]])
    return [
        {
            "name": f"{transport}-{name}",
            "added_p50_ms": round(median([p50 for p50, _, _ in runs]) - floor, 3),
            "p50_ms": round(median([p50 for p50, _, _ in runs]), 3),
            "p99_ms": round(median([p99 for _, p99, _ in runs]), 3),
            "calls_per_s": round(median([each for _, _, each in runs]), 1),
        }
        for name, runs in seen.items()
    ]


async def wait_together(call: ToolCaller, served: Served) -> Row:
    """Return how long many waiting calls take whose flow takes a second, and what memory they need."""

    async def one(number: int) -> None:
        question = f"[sleep 1000] Why is Python slow, number {number}?"
        result = await call("tools/call", tool("flowise_query", question=question, wait_s=45))
        assert result["structuredContent"]["done"]

    start = time.perf_counter()
    waiting = asyncio.gather(*map(one, range(WAITS)))
    await asyncio.sleep(0.9)
    during = served.resident_mb()
    await waiting
    return {
        "name": f"http-{WAITS}-waits",
        "seconds": round(time.perf_counter() - start, 2),
        "flow_s": 1.0,
        "rss_mb": round(during, 1),
    }


async def over_http(here: Lab, env: Mapping[str, str], repeats: int, count: int) -> list[Row]:
    port = free_port()
    empty = Served([sys.executable, "-m", "benchmarks.mcp", "--nothing", str(port)], log=here.folder / "nothing.log")
    bridge = Served([sys.executable, "-m", "mcp_bridge", "--http", "0"], log=here.folder / "bridge.log", env=dict(env))
    try:
        wait_until(lambda: "serves" in bridge.log.read_text(), what="bridge")
        told = re.search(r"serves (\S+)", bridge.log.read_text())
        assert told is not None
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            nothing = HttpCaller(session, f"http://127.0.0.1:{port}/mcp")
            call = HttpCaller(session, told[1])
            await answering(nothing)
            rows = await measure("http", nothing, call, repeats=repeats, count=count)
            rows.append({"name": "http-memory", "rss_mb": round(bridge.resident_mb(), 1)})
            rows.append(await wait_together(call, bridge))
        return rows
    finally:
        empty.stop()
        bridge.stop()


async def answering(call: HttpCaller) -> None:
    """Return once a server answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                await call("tools/call", tool("nothing"))
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def over_stdio(env: Mapping[str, str], repeats: int, count: int) -> list[Row]:
    commands = ([sys.executable, "-m", "benchmarks.mcp", "--nothing", "stdio"], [sys.executable, "-m", "mcp_bridge"])
    children = [await child(command, env) for command in commands]
    try:
        nothing, bridge = (StdioCaller(process) for process in children)
        return await measure("stdio", nothing, bridge, repeats=repeats, count=count)
    finally:
        for process in children:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


async def child(command: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**22,
    )


@contextmanager
def stack() -> Iterator[tuple[Lab, dict[str, str]]]:
    """Start what the bridge needs; yield the environment in which it finds it."""
    with lab() as here:
        _, broker = here.broker()
        _, flows = here.flows(5)
        env = {**here.environment(broker, flows), "FLYWHEEL_TRACING_ENABLED": "false"}
        here.worker("worker", env)
        yield here, env


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.mcp", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one JSON object a row")
    asked.add_argument("--repeats", type=at_least(1), default=3)
    asked.add_argument("--count", type=at_least(1), default=500, help="calls one after another, in each repeat")
    asked.add_argument("--nothing", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.nothing is not None:
        serve_nothing(given.nothing)
        return
    from agentic_flywheel.settings import child_environment

    with stack() as (here, env):
        rows = uvloop.run(over_http(here, env, given.repeats, given.count))
        rows += uvloop.run(over_stdio(child_environment(**env), given.repeats, given.count))
    if given.json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    columns = ("added_p50_ms", "p50_ms", "p99_ms", "calls_per_s", "seconds", "rss_mb")
    table = Table("name", *columns)
    for row in rows:
        table.add_row(row["name"], *(str(row.get(column, "")) for column in columns))
    console().print(table)


if __name__ == "__main__":
    main()
