"""Turn listed tools, JSON on stdin, into what google-genai sends: ``python google_genai_schemas.py``."""

import json
import sys
from types import SimpleNamespace

from google.genai._mcp_utils import mcp_to_gemini_tool

told = {}
for tool in json.load(sys.stdin):
    given = SimpleNamespace(name=tool["name"], description=tool["description"], input_schema=tool["inputSchema"])
    declared = mcp_to_gemini_tool(given).function_declarations[0]
    told[declared.name] = declared.parameters.model_dump(mode="json", exclude_none=True)
sys.stdout.write(json.dumps(told))
