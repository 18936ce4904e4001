"""The MCP bridge: every MCP client can ask, wait, watch and manage. ``python -m mcp_bridge`` starts it."""
