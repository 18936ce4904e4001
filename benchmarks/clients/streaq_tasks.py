"""Two tasks a query with streaq: streams, the second task depends on the first; the result is published.

The worker is ``streaq run benchmarks.clients.streaq_tasks:worker``, the caller this module as a program.
"""

import itertools
import os
from contextlib import asynccontextmanager

import aiohttp
import uvloop
from streaq import Worker

from benchmarks.clients.asking import domain_of, serve

_FLOWS = os.environ["FLOWISE_BASE_URL"]


@asynccontextmanager
async def _session():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


worker = Worker(
    redis_url=os.environ["REDIS_URL"],
    concurrency=2000,
    lifespan=_session,
    anyio_kwargs={"use_uvloop": True},
    # Every caller that waits has a connection and needs a second one to look: with the default of 64, they stand still.
    redis_kwargs={"max_connections": 2000},
)


@worker.task(ttl=600)
async def classify(question):
    return {"question": question, "domain": domain_of(question)}


@worker.task(ttl=600)
async def flow(query):
    url = f"{_FLOWS}/api/v1/prediction/{query['domain']}"
    async with worker.context.post(url, json={"question": query["question"]}) as response:
        return (await response.json())["text"]


async def main():
    numbers = itertools.count()

    async def ask(_):
        question = f"How do I connect PostgreSQL number {next(numbers)} to Python?"
        task = await classify.enqueue(question).then(flow)
        return (await task.result(timeout=60)).result

    async with worker:
        await serve(ask)


if __name__ == "__main__":
    uvloop.run(main())
