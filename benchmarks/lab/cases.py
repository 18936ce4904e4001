"""Rows beside the throughput of new questions: identical ones, many under way, a long queue, several domains."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import redis

from benchmarks.lab.asking import Row, environment, fresh_number, one_stack, question, with_producer
from benchmarks.lab.measure import closed_loop, median, quantile
from benchmarks.lab.parts import Lab, flow_calls, wait_until

if TYPE_CHECKING:
    from producer import AsyncProducer


def identical(here: Lab) -> Row:
    """Ask one question a thousand times at once and count the flow's calls."""
    env, flows, worker = one_stack(here, 200)

    async def work(producer: AsyncProducer) -> Row:
        await producer.ask(question(0), wait=30)
        before, asked = flow_calls(flows), question(1)
        start = time.perf_counter()
        answers = await asyncio.gather(*(producer.ask(asked, wait=30) for _ in range(1000)))
        seconds = time.perf_counter() - start
        return {
            "name": "identical-1000",
            "queries_per_s": round(1000 / seconds, 1),
            "flow_calls": flow_calls(flows) - before,
            "answers": len({answer.query_id for answer in answers}),
            "elapsed_ms": round(seconds * 1000, 1),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row


def in_flight(here: Lab, count: int) -> Row:
    """Measure one worker's memory while it calls ``count`` flows at once, each for eight seconds."""
    env, _, worker = one_stack(here, 8000, concurrency=2 * count)

    async def work(producer: AsyncProducer) -> Row:
        idle = worker.rss_mb()
        start = time.perf_counter()
        waiting = [asyncio.create_task(producer.ask(question(number), wait=120)) for number in range(count)]
        peak = 0.0
        while not all(task.done() for task in waiting):
            peak = max(peak, worker.rss_mb())
            await asyncio.sleep(0.25)
        for task in waiting:
            task.result()
        seconds = time.perf_counter() - start
        return {
            "name": f"in-flight-{count}",
            "queries_per_s": round(count / seconds, 1),
            "rss_mb": round(peak, 1),
            "idle_rss_mb": round(idle, 1),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row


def queued(here: Lab, count: int) -> Row:
    """Queue ``count`` questions, measure what one needs in the broker, and let two workers drain the queue."""
    _, broker = here.broker()
    _, flows = here.flows(0)
    env = here.environment(broker, flows)
    client = redis.Redis.from_url(broker)

    async def work(producer: AsyncProducer) -> Row:
        before = client.info("memory")["used_memory"]

        async def submit(number: int) -> object:
            return await producer.submit(question(number))

        rate = await closed_loop(submit, count=count, at_once=128)
        each = (client.info("memory")["used_memory"] - before) / count
        with environment(env):
            workers = [here.worker(f"drain-{n}", dict(os.environ)) for n in range(2)]
        start, at_start = time.perf_counter(), _under_way(client)
        await asyncio.to_thread(wait_until, lambda: _under_way(client) <= 0, seconds=3600, what="the queue to drain")
        drained = at_start / (time.perf_counter() - start)
        here.stop(*workers)
        return {
            "name": f"queued-{count}",
            "queries_per_s": round(rate, 1),
            "drained_per_s": round(drained, 1),
            "redis_bytes_per_query": round(each),
        }

    return with_producer(env, work)


def _under_way(client: redis.Redis) -> int:
    return int(client.zcard("flywheel:open"))


def fan_out(here: Lab, repeats: int) -> Row:
    """Ask questions that concern several domains, one after another, each part by a flow of 200 ms."""
    env, _, worker = one_stack(here, 200)

    async def work(producer: AsyncProducer) -> Row:
        added, domains = [], set()
        for number in range(20 * repeats):
            asked = (
                f"[sleep 200] Which database index does the join of case {fresh_number()}-{number} need? "
                "Which clause of the contract covers liability? And help me imagine a story about it"
            )
            start = time.perf_counter()
            answer = await producer.ask(asked, wait=30)
            added.append((time.perf_counter() - start) * 1000 - 200)
            domains.add(answer.domains)
        widest = max(map(len, domains))
        return {
            "name": f"fan-out-{widest}",
            "queries_per_s": round(1000 / (median(added) + 200), 1),
            "added_p50_ms": round(median(added), 2),
            "added_p99_ms": round(quantile(added, 0.99), 2),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row
