"""Ask through LangChain's adapters: ``python langchain_client.py URL``."""

import asyncio
import json
import sys

from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient


async def main(url: str) -> None:
    client = MultiServerMCPClient({"flywheel": {"transport": "streamable_http", "url": url}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    asked = await tools["flowise_query"].ainvoke({"question": "Summarise this PDF"})
    try:
        error = await tools["flowise_query"].ainvoke({"question": "?", "flow_override": "no-such"})
    except ToolException as refused:
        error = str(refused)
    answer = asked if isinstance(asked, str) else asked[0]["text"]
    told = {"tools": list(tools), "answer": answer, "error": error if isinstance(error, str) else error[0]["text"]}
    sys.stdout.write(json.dumps(told))


asyncio.run(main(sys.argv[1]))
