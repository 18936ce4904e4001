"""What tracing adds to a query: time and CPU, with the server up, down, slow and hanging, beside the langfuse SDK live.

    python benchmarks/tracing.py [--json] [--rate 100] [--seconds 5] [--repeats 3]

Each row is a fresh process that runs the same queries on an event loop: two calls over a connection, as to a broker or
a flow, and ten observations of realistic size around them. `added` is against the row `off` of the same run, `cpu_ms`
is what a query costs more in all threads; both are medians of the repeats, which take turns with the rows. The Langfuse
server and the called one are processes of their own.
The row `2000/s` only records, that many queries a second: it says whether the sender keeps up with one process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agentic_flywheel.models import Answer, Query, Record, Route, State, Target, Usage, new_query_id
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer, derive_span_id

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLIC_KEY, SECRET_KEY = "pk-lf-test", "sk-lf-test"
FLOOD = "2000/s"
FLOOD_RATE = 2000
#: Row → how the server behaves; None: there is no server.
ROWS: dict[str, str | None] = {
    "off": None,
    "file": None,
    "on": "",
    "down": None,
    "slow": "slow",
    "hanging": "hanging",
    "sdk": "",
    FLOOD: "",
}
#: Calls at once; at the usual rates there is always a free connection.
CONNECTIONS = 64
QUESTION = "How do I connect PostgreSQL with Python, keep the connections in a pool and retry after a failover?"
ANSWER = "Use psycopg 3 with its pool. " * 30
#: What a call sends and gets back.
MESSAGE = b"x" * 511 + b"\n"
CONFIG = {"temperature": 0.2, "maxOutputTokens": 2048, "rephrasePrompt": "…", "vars": {"tone": "plain"}}
SCORES = {"creative-orientation": 0.04, "technical-analysis": 0.91, "document-qa": 0.05}

QUERY = Query(question=QUESTION, session_id="s-1", user="ada")
ROUTE = Route(
    targets=(Target(flow="technical-analysis", domain="technical", confidence=0.91),),
    decision="single",
    band="high",
    confidence=0.91,
    scores=SCORES,
)

Steps = Callable[[Record], None]


def ended_query() -> Record:
    """Return a record as the winner of the final write has it."""
    query_id, moment = new_query_id(), datetime.now(UTC)
    return Record.model_construct(
        query_id=query_id,
        owner="ada",
        state=State.SUCCEEDED,
        query=QUERY.model_copy(update={"question": f"{QUESTION} ({query_id})"}),
        route=ROUTE,
        answer=Answer.model_construct(
            query_id=query_id, text=f"{ANSWER} ({query_id})", flow="technical-analysis", domain="technical"
        ),
        flow="technical-analysis",
        domain="technical",
        created=moment,
        finished=moment,
    )


def with_our_tracer(tracer: Tracer) -> tuple[Steps, Steps]:
    """Return what records the first and the second half of a query's steps."""
    route = ROUTE

    def first(record: Record) -> None:
        now, query = time.time_ns(), record.query
        trace = tracer.trace(record.query_id, session=query.session_id, user=query.user)
        trace.observe("queue-wait", start=now, end=now, metadata={"queue": "classify"})
        trace.observe(
            "intent-classification",
            "chain",
            start=now,
            end=time.time_ns(),
            input=query.question,
            output={"flow": "technical-analysis", "confidence": 0.91, "scores": route.scores},
            metadata={"reason": "five words of its examples"},
        )
        trace.observe("flow-selection", start=now, end=time.time_ns(), output={"flow": "technical-analysis"})
        trace.observe("queue-wait", start=now, end=time.time_ns(), metadata={"queue": "domain.technical"})
        trace.observe("cache-check", "retriever", start=now, end=now, metadata={"hit": False, "key": "flywheel:answer"})

    def second(record: Record) -> None:
        now, query = time.time_ns(), record.query
        answer = record.answer.text if record.answer else ""
        trace = tracer.trace(record.query_id, session=query.session_id, user=query.user)
        trace.observe("context", start=now, end=now, metadata={"turns": 3, "profile": "team"})
        attempt = derive_span_id(record.query_id, "attempt", 1)
        trace.observe(
            "flow-execution",
            "generation",
            start=now,
            end=time.time_ns(),
            span_id=attempt,
            input=query.question,
            output=answer,
            metadata={"flow_id": "896f7eed", "flow": "technical-analysis", "config": CONFIG},
            model="a-model",
            usage=Usage(input_tokens=120, output_tokens=300, total_tokens=420),
            first_token=now,
        )
        trace.observe("first-token", "event", start=now, end=now, parent=attempt)
        trace.observe("response-formatting", start=now, end=time.time_ns(), output={"characters": len(answer)})
        trace.root(record, title="Technical Analysis")

    return first, second


def with_the_sdk(url: str) -> tuple[Steps, Steps, Callable[[], None]]:
    """Return the same steps recorded live with the langfuse SDK, and what shuts it down."""
    from langfuse import Langfuse, propagate_attributes

    client = Langfuse(base_url=url, public_key=PUBLIC_KEY, secret_key=SECRET_KEY)
    roots: dict[str, Any] = {}

    def first(record: Record) -> None:
        with propagate_attributes(session_id="s-1", user_id="ada", tags=["domain:technical"], trace_name="Technical"):
            question = record.query.question
            root = roots[record.query_id] = client.start_observation(
                name="Technical Analysis", as_type="agent", input=question, trace_context={"trace_id": record.query_id}
            )
            root.start_observation(name="queue-wait", metadata={"queue": "classify"}).end()
            root.start_observation(
                name="intent-classification", as_type="chain", input=question, output={"scores": SCORES}
            ).end()
            root.start_observation(name="flow-selection", output={"flow": "technical-analysis"}).end()
            root.start_observation(name="queue-wait", metadata={"queue": "domain.technical"}).end()
            root.start_observation(name="cache-check", as_type="retriever", metadata={"hit": False}).end()

    def second(record: Record) -> None:
        root = roots.pop(record.query_id)
        answer = record.answer.text if record.answer else ""
        root.start_observation(name="context", metadata={"turns": 3, "profile": "team"}).end()
        attempt = root.start_observation(
            name="flow-execution",
            as_type="generation",
            input=record.query.question,
            output=answer,
            metadata={"flow_id": "896f7eed", "flow": "technical-analysis", "config": CONFIG},
            model="a-model",
            usage_details={"input": 120, "output": 300, "total": 420},
        )
        attempt.start_observation(name="first-token").end()
        attempt.end()
        root.start_observation(name="response-formatting", output={"characters": len(answer)}).end()
        root.update(output=answer)
        root.end()

    return first, second, client.shutdown


async def flood(first: Steps, second: Steps, seconds: float) -> tuple[list[float], list[float], int]:
    """Record at ``FLOOD_RATE`` and nothing else. Returns the same as ``run_queries``."""
    records = [ended_query() for _ in range(int(FLOOD_RATE * seconds))]
    recording: list[float] = []
    began = time.perf_counter()
    while len(recording) < len(records):
        elapsed = time.perf_counter() - began
        for record in records[len(recording) : int(elapsed * FLOOD_RATE)]:
            before = time.perf_counter()
            first(record)
            second(record)
            recording.append(time.perf_counter() - before)
        await asyncio.sleep(0.001)
    return recording, recording, len(recording)


async def run_queries(
    first: Steps, second: Steps, rate: float, seconds: float, called: int
) -> tuple[list[float], list[float], int]:
    """Return per query how long it took, how much of that was spent recording, and how many ran.

    ``called`` is the port of the server that the queries call.
    """
    taken: list[float] = []
    recording: list[float] = []
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", called))

    async def query(record: Record) -> None:
        reader, writer = await free.get()
        began = time.perf_counter()
        writer.write(MESSAGE)
        await reader.readline()
        before = time.perf_counter()
        first(record)
        middle = time.perf_counter()
        writer.write(MESSAGE)
        await reader.readline()
        after = time.perf_counter()
        second(record)
        ended = time.perf_counter()
        taken.append(ended - began)
        recording.append(middle - before + ended - after)
        free.put_nowait((reader, writer))

    tasks: set[asyncio.Task[None]] = set()
    records = [ended_query() for _ in range(int(rate * seconds))]
    began, started = time.perf_counter(), 0
    while started < len(records):
        for record in records[started : int((time.perf_counter() - began) * rate)]:
            task = asyncio.create_task(query(record))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            started += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return taken, recording, started


def answer_calls() -> None:
    """Serve what queries call: send every line back. Say the port first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


def measure(row: str, url: str, rate: float, seconds: float, called: int) -> dict[str, float]:
    """Run one row in this process."""
    tracer = None
    with tempfile.TemporaryDirectory() as home:
        shut_down: Callable[[], Any]
        if row == "sdk":
            first, second, shut_down = with_the_sdk(url)
        else:
            keys = {"langfuse_base_url": url, "langfuse_public_key": PUBLIC_KEY, "langfuse_secret_key": SECRET_KEY}
            settings = Settings(home=Path(home), tracing_enabled=row != "off", **(keys if url else {}))
            tracer = Tracer.from_settings(settings)
            (first, second), shut_down = with_our_tracer(tracer), tracer.close
        asyncio.run(run_queries(first, second, 50, 1.0, called))
        gc.collect()
        cpu = time.process_time()
        run = flood(first, second, seconds) if row == FLOOD else run_queries(first, second, rate, seconds, called)
        taken, recording, started = asyncio.run(run)
        cpu = time.process_time() - cpu
        closing = time.perf_counter()
        shut_down()
        closing = time.perf_counter() - closing
    return {
        "queries": started,
        "p50_ms": _percentile(taken, 0.50) * 1000,
        "p99_ms": _percentile(taken, 0.99) * 1000,
        "recording_p50_ms": _percentile(recording, 0.50) * 1000,
        "recording_p99_ms": _percentile(recording, 0.99) * 1000,
        "total_cpu_ms": cpu * 1000 / started,
        "dropped": tracer.delivery.dropped if tracer else 0,
        "close_s": closing,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def server(mood: str | None) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the address of a server in its own process, and what stops it and says how many spans came."""
    if mood is None:
        yield "", lambda: 0
        return
    command = [sys.executable, str(REPOSITORY / "tests" / "langfuse_server.py"), *([mood] if mood else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()

        def stop() -> int:
            return int(process.communicate()[0] or 0)

        try:
            yield f"http://127.0.0.1:{port}", stop
        finally:
            process.kill()


@contextmanager
def called_server() -> Iterator[str]:
    """Yield the port of a server that answers calls, in its own process."""
    command = [sys.executable, __file__, "--answer-calls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run_row(row: str, mood: str | None, rate: float, seconds: float) -> dict[str, float]:
    with server(mood) as (url, stop), called_server() as called:
        if row == "down":
            url = "http://127.0.0.1:9"
        command = [sys.executable, __file__, "--row", row, "--url", url, "--called", called]
        command += ["--rate", str(rate), "--seconds", str(seconds)]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode:
            raise SystemExit(f"{row}: {done.stderr}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        if mood == "":
            found["received"] = stop()
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}


def compare(rows: dict[str, dict[str, float]]) -> list[dict[str, float | str]]:
    """Return each row with what it adds to the row ``off``."""
    off = rows["off"]
    return [
        {
            "row": name,
            # The flood has no queries around its recording: what it adds is the recording itself.
            "added_p50_ms": round(row["p50_ms"] - (0 if name == FLOOD else off["p50_ms"]), 3),
            "added_p99_ms": round(row["p99_ms"] - (0 if name == FLOOD else off["p99_ms"]), 3),
            "p50_ms": round(row["p50_ms"], 3),
            "p99_ms": round(row["p99_ms"], 3),
            "recording_p50_ms": round(row["recording_p50_ms"], 3),
            "recording_p99_ms": round(row["recording_p99_ms"], 3),
            "cpu_ms": round(row["total_cpu_ms"] - (0 if name == FLOOD else off["total_cpu_ms"]), 3),
            "queries": row["queries"],
            "dropped": row["dropped"],
            "received": row.get("received", 0),
            "close_s": round(row["close_s"], 2),
            "rss_mb": round(row["rss_mb"]),
        }
        for name, row in rows.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rate", type=float, default=100, help="queries per second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--called", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--answer-calls", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer_calls:
        answer_calls()
        return
    if given.row:
        print(json.dumps(measure(given.row, given.url, given.rate, given.seconds, given.called)))
        return
    rounds = [
        {row: run_row(row, mood, given.rate, given.seconds) for row, mood in ROWS.items()} for _ in range(given.repeats)
    ]
    found = compare(
        {row: {name: median(each[row][name] for each in rounds) for name in rounds[0][row]} for row in ROWS}
    )
    if given.json:
        print(json.dumps({"rate": given.rate, "observations_per_query": 10, "rows": found}))
        return
    table = Table(box=SIMPLE_HEAD, title=f"Tracing: {given.rate:g} queries/s, ten observations each")
    for name in found[0]:
        table.add_column(name, justify="left" if name == "row" else "right")
    for row in found:
        table.add_row(*map(str, row.values()))
    console = Console()
    # A terminal has its own width; in a file nothing is cut.
    Console(width=None if console.is_terminal else 180).print(table)


if __name__ == "__main__":
    main()
