"""Measure the way of a query end to end: ``python -m benchmarks.pipeline [--json] [--repeats N] [--only 1,3]``.

Every row starts its own broker, flow server and workers on this machine; the ratios of a group are to its first row.
Figures are medians over the repeats; each is named with its unit. Tracing is off here; ``benchmarks.tracing`` measures
its cost.

``--against COMMIT`` compares this checkout with an earlier commit in one run, in turns: see ``benchmarks.against``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial

import uvloop

from benchmarks.against import compare
from benchmarks.lab import cases, loops
from benchmarks.lab.arguments import at_least, numbers_to
from benchmarks.lab.asking import Row, summary
from benchmarks.lab.limits import latency, plain_celery, raw_limit
from benchmarks.lab.measure import median, quantile, taken_ms
from benchmarks.lab.parts import Lab, interruptible, lab
from benchmarks.lab.rooms import NoRoom, other_queue
from benchmarks.lab.sparse import sparse
from benchmarks.lab.table import console, table

Measure = Callable[[Lab], Row]


def flywheel(here: Lab, workers: int, flow_ms: int, repeats: int, count: int) -> Row:
    """Measure our own stack with this many workers."""

    async def run() -> Row:
        async with loops.answers(here, workers, flow_ms) as loop:
            runs = [await loop.run(count) for _ in range(repeats)]
            added = await latency(loop.ask, flow_ms)
            return summary(
                f"flywheel-{workers}",
                flow_ms,
                [each.queries_per_s for each in runs],
                [each.worker_cpu_ms for each in runs],
                **added,
                rss_mb=round(sum(worker.rss_mb() for worker in loop.workers), 1),
            )

    return uvloop.run(run())


def submissions(here: Lab, repeats: int) -> Row:
    """Measure how quickly one process puts questions into the queue."""

    async def run() -> Row:
        async with loops.submissions(here) as loop:
            runs = [await loop.run(20_000) for _ in range(repeats)]
        return {
            "name": "submissions",
            "queries_per_s": round(median([each.queries_per_s for each in runs]), 1),
            "producer_cpu_ms_per_query": round(median([each.producer_cpu_ms for each in runs]), 3),
        }

    return uvloop.run(run())


def cache_hits(here: Lab, repeats: int) -> Row:
    """Measure questions that are answered from the cache at their submission."""

    async def run() -> Row:
        async with loops.cache_hits(here) as loop:
            one_by_one = await taken_ms(loop.ask, count=1000)
            runs = [await loop.run(10_000) for _ in range(repeats)]
        return {
            "name": "cache-hits",
            "queries_per_s": round(median([each.queries_per_s for each in runs]), 1),
            "p50_ms": round(quantile(one_by_one, 0.5), 3),
        }

    return uvloop.run(run())


def throughput(flow_ms: int, repeats: int, *, count: int, few: int) -> list[Measure]:
    """Return the rows for flows that take ``flow_ms`` milliseconds; plain Celery is asked ``few`` questions."""
    return [
        partial(raw_limit, flow_ms=flow_ms, repeats=repeats, count=count),
        partial(plain_celery, pool="prefork", concurrency=8, flow_ms=flow_ms, repeats=repeats, count=few // 4),
        partial(plain_celery, pool="threads", concurrency=200, flow_ms=flow_ms, repeats=repeats, count=few),
        partial(other_queue, name="taskiq", flow_ms=flow_ms, repeats=repeats, count=few, at_once=200),
        partial(other_queue, name="streaq", flow_ms=flow_ms, repeats=repeats, count=few, at_once=200),
        partial(flywheel, workers=1, flow_ms=flow_ms, repeats=repeats, count=count),
        partial(flywheel, workers=2, flow_ms=flow_ms, repeats=repeats, count=count),
    ]


def groups(repeats: int, *, quick: bool) -> dict[str, list[Measure]]:
    """Return the rows of each group by its title."""
    count, few = (2000, 400) if quick else (8000, 2000)
    return {
        "200 ms flows": throughput(200, repeats, count=count, few=few),
        "0 ms flows": throughput(0, repeats, count=count, few=few),
        "beside the flows": [
            partial(submissions, repeats=repeats),
            partial(cache_hits, repeats=repeats),
            cases.identical,
            partial(cases.in_flight, count=1000 if quick else 5000),
            partial(cases.queued, count=20_000 if quick else 1_000_000),
            partial(cases.fan_out, repeats=repeats),
        ],
        "50 queries a second": [partial(sparse, flow_ms=flow_ms, repeats=repeats) for flow_ms in (200, 0)],
    }


def rows_of(group: Iterable[Measure]) -> Generator[Row]:
    """Measure one row after another. Each gets its ratio to the first. What is not installed is left out."""
    first: Row | None = None
    for measure in group:
        try:
            with lab() as here:
                row = measure(here)
        except NoRoom as missing:
            print(f"left out: {missing}", file=sys.stderr)
            continue
        first = first or row
        row["ratio"] = round(row["queries_per_s"] / first["queries_per_s"], 3)
        yield row


def report(title: str, measured: Generator[Row], *, as_json: bool) -> None:
    """Print the rows: as JSON each at once, else as a table in the end, also where an interrupt is the end."""
    shown, done = console(), list[Row]()
    try:
        with closing(measured) as rows:  # an interrupt here ends what stands there, too
            for row in rows:
                if as_json:
                    print(json.dumps(row), flush=True)
                else:
                    shown.print(f"[dim]{row['name']} done[/dim]")
                    done.append(row)
    finally:
        if done:
            shown.print(table(title, done))


def main() -> None:
    asked = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asked.add_argument("--json", action="store_true", help="one JSON object a row")
    asked.add_argument("--repeats", type=at_least(1), default=3)
    asked.add_argument("--quick", action="store_true", help="a fraction of the load: a look, not a result")
    asked.add_argument(
        "--only", type=numbers_to(4), default=set(), help="groups to run: numbers from 1, comma separated, e.g. 1,3"
    )
    asked.add_argument("--against", metavar="COMMIT", help="compare with the code of this commit, in turns")
    given = asked.parse_args()
    try:
        with interruptible():  # between the rows, too
            if given.against is not None:
                rows = compare(given.against, given.only, quick=given.quick)
                report(f"this checkout against {given.against}", rows, as_json=given.json)
                return
            for number, (title, group) in enumerate(groups(given.repeats, quick=given.quick).items(), 1):
                if not given.only or number in given.only:
                    report(title, rows_of(group), as_json=given.json)
    except KeyboardInterrupt:
        # Without waiting for threads: those of plain Celery's callers wait for answers that no longer come.
        sys.stdout.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
