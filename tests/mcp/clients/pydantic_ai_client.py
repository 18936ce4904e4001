"""Ask through an agent of pydantic-ai whose model is scripted: ``python pydantic_ai_client.py URL``."""

import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

CALLS = [{"question": "Summarise this PDF"}, {"question": "?", "flow_override": "no-such"}]


async def main(url: str) -> None:
    told, heard, left = {}, [], iter(CALLS)

    def model(messages, info):
        told["tools"] = [tool.name for tool in info.function_tools]
        heard.extend(part.model_response_str() for part in messages[-1].parts if part.part_kind == "tool-return")
        heard.extend(part.model_response() for part in messages[-1].parts if part.part_kind == "retry-prompt")
        arguments = next(left, None)
        return ModelResponse(parts=[ToolCallPart("flowise_query", arguments) if arguments else TextPart("done")])

    await Agent(FunctionModel(model), toolsets=[MCPToolset(url)], retries=2).run("Find out.")
    answer, error = heard
    sys.stdout.write(json.dumps({**told, "answer": answer, "error": error}))


asyncio.run(main(sys.argv[1]))
