"""Servers that speak OpenAI's chat completions: OpenAI, Azure, LiteLLM, vLLM, Ollama and others."""

from agentic_flywheel.backends.openai.backend import OpenAIBackend

__all__ = ["OpenAIBackend"]
