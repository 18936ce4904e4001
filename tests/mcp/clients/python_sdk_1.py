"""Ask through version 1 of the Python SDK: ``python python_sdk_1.py URL``."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str) -> None:
    async with streamablehttp_client(url) as (reading, writing, _), ClientSession(reading, writing) as session:
        await session.initialize()
        listed = await session.list_tools()
        asked = await session.call_tool("flowise_query", {"question": "Summarise this PDF"})
        refused = await session.call_tool("flowise_query", {"question": "?", "flow_override": "no-such"})
    assert not asked.isError
    assert refused.isError
    told = {
        "tools": [tool.name for tool in listed.tools],
        "answer": asked.content[0].text,
        "flow": asked.structuredContent["flow_key"],
        "error": refused.content[0].text,
    }
    sys.stdout.write(json.dumps(told))


asyncio.run(main(sys.argv[1]))
