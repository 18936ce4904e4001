"""Measure the time and CPU that tracing adds to a query, by our tracer and by the langfuse SDK.

    python -m benchmarks.tracing [--json] [--rate 100] [--seconds 5] [--repeats 3]

The server is up, down, slow or hanging. Each row is a fresh process that runs the same queries on an event loop: two
calls over a connection, as to a broker or a flow, and ten observations of realistic size around them. `added` is
against the row `off` of the same run, `cpu_ms` is what a query costs more in all threads; both are medians of the
repeats, which take turns with the rows. The Langfuse server and the called one are processes of their own.
The row `2000/s` only records, that many queries a second: it shows whether the sender keeps up with one process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.lab.arguments import at_least, positive
from benchmarks.lab.parts import ROOT
from benchmarks.lab.table import console
from benchmarks.lab.traced_queries import FLOOD, answer_calls, measure

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


@contextmanager
def server(mood: str | None) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the address of a server in its own process, and what stops it and says how many spans came."""
    if mood is None:
        yield "", lambda: 0
        return
    command = [sys.executable, str(ROOT / "tests" / "langfuse_server.py"), *([mood] if mood else [])]
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
    command = [sys.executable, "-m", "benchmarks.tracing", "--answer-calls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run_row(row: str, mood: str | None, rate: float, seconds: float) -> dict[str, float]:
    with server(mood) as (url, stop), called_server() as called:
        if row == "down":
            url = "http://127.0.0.1:9"
        command = [sys.executable, "-m", "benchmarks.tracing", "--row", row, "--url", url, "--called", called]
        command += ["--rate", str(rate), "--seconds", str(seconds)]
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=seconds + 60
        )
        if done.returncode:
            raise SystemExit(f"{row}: {done.stderr}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        if mood == "":
            found["received"] = stop()
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "ignore"}


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
    parser.add_argument("--rate", type=positive, default=100, help="queries per second")
    parser.add_argument("--seconds", type=positive, default=5)
    parser.add_argument("--repeats", type=at_least(1), default=3)
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
    console().print(table)


if __name__ == "__main__":
    main()
