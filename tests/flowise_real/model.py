"""A model for flows of a real Flowise: it answers at once, and always the same. Flowise must reach this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

_USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


def said(messages: list[Json], tools: list[Json]) -> Json:
    """Return what it says: it uses the first tool once, names the digest of an image, and else repeats the question."""
    if tools and messages[-1]["role"] != "tool":
        use = {"name": tools[0]["function"]["name"], "arguments": json.dumps({"input": "6*7"})}
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": use}]}
    asked = [each["content"] for each in messages if each["role"] == "user"]
    # Flowise puts images into a message of their own.
    parts = [part for each in asked if isinstance(each, list) for part in each]
    images = [each["image_url"]["url"].partition(",")[2] for each in parts if each["type"] == "image_url"]
    digests = [hashlib.sha256(base64.b64decode(each)).hexdigest() for each in images]
    return {"content": " ".join([next(each for each in reversed(asked) if isinstance(each, str)), *digests])}


class _Calls(BaseHTTPRequestHandler):
    """OpenAI's chat completions, plain and streamed."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        says: Json = {"role": "assistant", "content": None, **said(body["messages"], body.get("tools") or [])}
        ended = "tool_calls" if "tool_calls" in says else "stop"
        about = {"id": "chatcmpl-1", "created": 1, "model": body["model"], "usage": _USAGE}
        if body.get("stream"):
            chunks: list[Json] = [
                {"choices": [{"index": 0, "delta": says, "finish_reason": None}], "usage": None},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": ended}], "usage": None},
                {"choices": []},
            ]
            told = [json.dumps({**about, "object": "chat.completion.chunk", **each}) for each in chunks]
            self._send("text/event-stream", "".join(f"data: {each}\n\n" for each in [*told, "[DONE]"]))
            return
        choice = {"index": 0, "message": says, "finish_reason": ended}
        self._send("application/json", json.dumps({**about, "object": "chat.completion", "choices": [choice]}))

    def _send(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def model_for(flowise_url: str) -> Iterator[str]:
    """Serve it at the address of this machine that the server sees. Yields it."""
    where = urlsplit(flowise_url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=30) as probe:
        host = probe.getsockname()[0]
    server = ThreadingHTTPServer((host, 0), _Calls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
