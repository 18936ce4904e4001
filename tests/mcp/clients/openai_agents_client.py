"""Ask through the OpenAI Agents SDK, with strict schemas: ``python openai_agents_client.py URL``."""

import asyncio
import json
import sys

from agents import Agent, RunContextWrapper
from agents.mcp import MCPServerStreamableHttp
from agents.mcp.util import MCPUtil


async def main(url: str) -> None:
    async with MCPServerStreamableHttp(params={"url": url}, client_session_timeout_seconds=30) as server:
        context = RunContextWrapper(context=None)
        converted = await MCPUtil.get_function_tools(server, True, context, Agent(name="tester"))
        tools = {tool.name: tool for tool in converted}
        query = next(tool for tool in await server.list_tools() if tool.name == "flowise_query")
        # As a model in strict mode has to: with every argument, where it means none an empty one.
        given = dict.fromkeys(tools["flowise_query"].params_json_schema["required"], "")
        given |= {"question": "Summarise this PDF", "cache": "use", "timeout_s": 0, "wait_s": 20}
        asked = await MCPUtil.invoke_mcp_tool(server, query, context, json.dumps(given))
        given |= {"flow_override": "no-such"}
        refused = await MCPUtil.invoke_mcp_tool(server, query, context, json.dumps(given))
    told = {
        "tools": list(tools),
        "strict": all(tool.strict_json_schema for tool in tools.values()),
        "answer": text_of(asked),
        "error": text_of(refused),
    }
    sys.stdout.write(json.dumps(told))


def text_of(output: object) -> str:
    return output if isinstance(output, str) else output["text"]


asyncio.run(main(sys.argv[1]))
