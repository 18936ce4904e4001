"""Decide through version 1 of the Python SDK: ``python python_sdk_1_deciding.py URL QUESTION``."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import ElicitResult

ASKED = []


async def decide(context, params):
    ASKED.append(params.message)
    return ElicitResult(action="accept", content={"decision": "proceed", "feedback": "go"})


async def main(url: str, question: str) -> None:
    async with (
        streamablehttp_client(url) as (reading, writing, _),
        ClientSession(reading, writing, elicitation_callback=decide) as session,
    ):
        await session.initialize()
        done = await session.call_tool("flowise_query", {"question": question, "flow_override": "slow"})
    sys.stdout.write(json.dumps({"asked": ASKED, "answer": done.structuredContent.get("answer")}))


asyncio.run(main(sys.argv[1], sys.argv[2]))
