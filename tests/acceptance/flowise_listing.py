"""A server that lists flows as Flowise does, and whatever else a test wants it to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit


@dataclass
class Listing:
    """What the server says."""

    url: str = ""
    flows: list[dict[str, Any]] = field(default_factory=list)
    #: Flows that are there, but of another workspace than the key.
    unlisted: list[dict[str, Any]] = field(default_factory=list)
    #: The key that it wants; empty: none.
    key: str = ""
    #: Whether it knows pages; older servers do not.
    pages: bool = True
    #: A page that it answers to everything with; empty: none.
    html: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]], key: str) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        if "chatflows-streaming" in path:
            known = any(name in (each["id"], quote(each["id"])) for each in (*self.flows, *self.unlisted))
            told = {
                "message": f"Error: chatflowsService.checkIfChatflowIsValidForStreaming - Chatflow {name} not found"
            }
            return (200, {"isStreaming": not name.startswith("mute")}) if known else (500, told)
        if self.key and key != self.key:
            return 401, {"error": "Unauthorized Access"}
        if name != "chatflows":
            found = [each for each in self.flows if each["id"] == name]
            return (200, found[0]) if found else (404, {"message": "not found"})
        if not self.pages or "page" not in query:
            return 200, self.flows
        page, limit = int(query["page"][0]), int(query["limit"][0])
        return 200, {"data": self.flows[(page - 1) * limit :][:limit], "total": len(self.flows)}


def chatflow(name: str, id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "name": name, "type": "CHATFLOW", "flowData": '{"nodes": []}', **more}


@contextmanager
def listing(*flows: dict[str, Any], **said: Any) -> Iterator[Listing]:
    """Serve these flows during the block."""
    state = Listing(flows=list(flows), **said)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            state.asked.append(self.path)
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, value = state.answer(address.path, parse_qs(address.query), key)
            body = state.html.encode() if state.html else json.dumps(value).encode()
            self.send_response(200 if state.html else status)
            self.send_header("Content-Type", "text/html" if state.html else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
