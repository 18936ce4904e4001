"""Ask through fastmcp's client: ``python fastmcp_client.py URL``."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.exceptions import ToolError


async def main(url: str) -> None:
    async with Client(url) as client:
        tools = await client.list_tools()
        asked = await client.call_tool("flowise_query", {"question": "Summarise this PDF"})
        try:
            await client.call_tool("flowise_query", {"question": "?", "flow_override": "no-such"})
        except ToolError as refused:
            error = str(refused)
    told = {
        "tools": [tool.name for tool in tools],
        "answer": asked.content[0].text,
        "flow": asked.structured_content["flow_key"],
        "error": error,
    }
    sys.stdout.write(json.dumps(told))


asyncio.run(main(sys.argv[1]))
