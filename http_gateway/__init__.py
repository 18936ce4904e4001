"""HTTP for everything that is neither Python nor MCP: our own API, Flowise's and OpenAI's, over one producer."""
