"""A local server that speaks ``/v1/embeddings``: real HTTP, vectors by the words that it knows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What a text is about, by words of several languages.
TOPICS = (
    ("ship", "boat", "sail", "harbour", "船", "schiff"),
    ("cake", "bread", "oven", "bake", "パン", "kuchen"),
)


class Embeddings:
    """What the server was asked, and how it answers from now on."""

    def __init__(self) -> None:
        #: The texts of each call.
        self.calls: list[list[str]] = []
        self.keys: list[str | None] = []
        self.models: list[str] = []
        self.url = ""
        #: Answers of this status, of this body, after so many seconds.
        self.status = 200
        self.body: bytes | None = None
        self.delay = 0.0
        self.width = len(TOPICS) + 1

    def vector(self, text: str) -> list[float]:
        """Return how often a text speaks of each topic; of none: the last number."""
        counts = [float(sum(word in text.lower() for word in topic)) for topic in TOPICS]
        return ([*counts, 0.01 if any(counts) else 1.0] + [0.0] * self.width)[: self.width]


@contextmanager
def serving() -> Iterator[Embeddings]:
    """Serve embeddings on a free port of this machine."""
    told = Embeddings()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.calls.append(asked["input"])
            told.models.append(asked["model"])
            told.keys.append(self.headers.get("Authorization"))
            time.sleep(told.delay)
            data = [{"index": at, "embedding": told.vector(text)} for at, text in enumerate(asked["input"])]
            # A server may give them in any order.
            body = told.body if told.body is not None else json.dumps({"data": data[::-1]}).encode()
            self.send_response(told.status if self.path == "/v1/embeddings" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
