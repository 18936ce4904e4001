"""Two tasks a query with taskiq: streams, acknowledged when the result is saved; a pipeline; the result is polled for.

The worker is ``taskiq worker benchmarks.clients.taskiq_tasks:broker``, the caller this module as a program.
"""

import itertools
import os

import aiohttp
import uvloop
from taskiq import TaskiqEvents
from taskiq_pipelines import Pipeline, PipelineMiddleware
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.clients.asking import domain_of, serve

_BROKER, _FLOWS = os.environ["REDIS_URL"], os.environ["FLOWISE_BASE_URL"]
#: Seconds between two looks for a result: taskiq's default is 0.2.
_LOOK = float(os.environ["RESULT_LOOK"])

broker = (
    RedisStreamBroker(_BROKER)
    .with_result_backend(RedisAsyncResultBackend(_BROKER, result_ex_time=600))
    .with_middlewares(PipelineMiddleware())
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _open(state):
    state.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def _close(state):
    await state.session.close()


@broker.task("classify")
async def classify(question):
    return {"question": question, "domain": domain_of(question)}


@broker.task("flow")
async def flow(query):
    url = f"{_FLOWS}/api/v1/prediction/{query['domain']}"
    async with broker.state.session.post(url, json={"question": query["question"]}) as response:
        return (await response.json())["text"]


async def main():
    await broker.startup()
    numbers = itertools.count()

    async def ask(_):
        question = f"How do I connect PostgreSQL number {next(numbers)} to Python?"
        task = await Pipeline(broker, classify).call_next(flow).kiq(question)
        result = await task.wait_result(check_interval=_LOOK, timeout=60)
        result.raise_for_error()
        return result.return_value

    await serve(ask)
    await broker.shutdown()


if __name__ == "__main__":
    uvloop.run(main())
