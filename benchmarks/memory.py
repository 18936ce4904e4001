"""What a query needs of broker and worker: ``python -m benchmarks.memory [--queries 2000] [--pieces 400]``.

Starts its own broker, flow server and worker, and asks questions that nobody asked before. Prints the bytes of a query
by the kind of its keys, as ``MEMORY USAGE`` counts them, and all of them as the server's memory has grown;
and the CPU time of broker and worker, which other work on the machine lengthens by far less than the time on the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis
from rich.table import Table

from benchmarks.lab.arguments import at_least
from benchmarks.lab.asking import Row, one_stack, question, with_producer
from benchmarks.lab.measure import closed_loop
from benchmarks.lab.parts import Lab, lab
from benchmarks.lab.table import console

if TYPE_CHECKING:
    from producer import AsyncProducer

#: Questions under way at once, with answers that come at once; and with streamed ones, which take long.
AT_ONCE, STREAMED_AT_ONCE = 32, 200
#: Milliseconds that a flow takes for an answer, and for each token of a streamed one: more than tokens are gathered.
FLOW_MS, TOKEN_MS = 5, 60
#: Queries before the measured ones: what all queries share is there then.
BEFORE = 200


def measure(
    here: Lab, queries: int, length: int, more: dict[str, str], *, pieces: int = 0, options: Sequence[str] = ()
) -> Row:
    """Ask so many questions with answers of so many bytes.

    ``pieces``: tokens in which an answer is streamed; 0: it is not. ``more``: further variables of worker and producer,
    ``options``: of the server.
    """
    flow_ms, at_once = (TOKEN_MS, STREAMED_AT_ONCE) if pieces else (FLOW_MS, AT_ONCE)
    env, _, worker = one_stack(here, flow_ms, concurrency=1000, pieces=pieces, options=options, **more)
    server: redis.Redis = redis.Redis.from_url(env["REDIS_URL"], decode_responses=True)

    async def work(producer: AsyncProducer) -> Row:
        async def ask(number: int) -> object:
            return await producer.ask(f"{question(number)} [bytes {length}]", wait=120)

        await closed_loop(ask, count=BEFORE, at_once=at_once)
        before, grown = _by_kind(server), server.info("memory")["used_memory"]
        busy, working = _cpu_of(server), worker.cpu_seconds()
        await closed_loop(ask, count=queries, at_once=at_once)
        busy, working = _cpu_of(server) - busy, worker.cpu_seconds() - working
        grown = server.info("memory")["used_memory"] - grown
        kinds = _by_kind(server)
        kinds.subtract(before)
        return {
            "queries": queries,
            "answer_bytes": length,
            "bytes_per_query": round(grown / queries),
            "most_bytes": server.info("memory")["used_memory_peak"],
            "broker_cpu_ms_per_query": round(busy / queries * 1000, 3),
            "worker_cpu_ms_per_query": round(working / queries * 1000, 3),
            "by_kind": {kind: round(size / queries) for kind, size in kinds.most_common() if size > queries},
        }

    return with_producer(env, work)


def _cpu_of(server: redis.Redis) -> float:
    """Return the seconds of CPU time that the server has used."""
    used = server.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _by_kind(server: redis.Redis) -> Counter[str]:
    """Return the bytes of all keys by what stands before the first part that only one query has."""
    found: Counter[str] = Counter()
    keys = list(server.scan_iter(count=1000))
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        with server.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.memory_usage(key, samples=0)
            for key, size in zip(some, pipe.execute(), strict=True):
                found[_kind_of(key)] += size or 0
    return found


def _kind_of(key: str) -> str:
    start, _, rest = key.partition(":")
    return f"{start}:{rest.partition(':')[0]}" if rest else key[: len("celery-task-meta")]


def main() -> int:
    """Measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    asked.add_argument("--queries", type=at_least(1), default=2000)
    asked.add_argument("--bytes", type=at_least(1), default=4096, help="length of an answer")
    asked.add_argument("--pieces", type=at_least(0), default=0, help="stream an answer in so many tokens")
    asked.add_argument(
        "--server", default="", metavar="OPTIONS", help="options of the server, such as '--maxmemory 1gb'"
    )
    asked.add_argument("--json", action="store_true", help="one JSON object")
    asked.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of worker and producer; repeatable"
    )
    given = asked.parse_args()
    with lab() as here:
        more = dict(each.split("=", 1) for each in given.set)
        row = measure(here, given.queries, given.bytes, more, pieces=given.pieces, options=given.server.split())
    if given.json:
        print(json.dumps(row))
        return 0
    table = Table("keys", "bytes a query", title=f"{row['queries']} queries, answers of {row['answer_bytes']} bytes")
    for kind, size in row["by_kind"].items():
        table.add_row(kind, f"{size:,}")
    table.add_row("the server's memory", f"{row['bytes_per_query']:,}")
    console().print(table)
    console().print(f"The server's memory at its greatest: {row['most_bytes'] / 1e6:.1f} MB")
    console().print(
        f"CPU a query: broker {row['broker_cpu_ms_per_query']} ms, worker {row['worker_cpu_ms_per_query']} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
