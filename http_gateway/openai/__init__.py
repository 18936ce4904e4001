"""The OpenAI-compatible API: chat completions, answered by flows, and the list of what may be asked."""

from __future__ import annotations

from http_gateway.openai.failures import cut, refusal
from http_gateway.openai.routes import MOST_BODY, router
from http_gateway.surfaces import Surface

#: Also paths of OpenAI's that are not served, so that its clients are told so in words that they show.
_PATHS = ("chat", "models", "embeddings", "completions", "responses", "images", "audio", "moderations", "files")

OPENAI = Surface("openai", tuple(f"/v1/{path}" for path in _PATHS), refusal, cut, (router,), MOST_BODY)
