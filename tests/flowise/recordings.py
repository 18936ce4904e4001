"""The recorded exchanges with a real Flowise, and a server that replays one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

FOLDER = Path(__file__).parent.parent / "recordings"
#: Recorded seconds shrink to this share, and no pause is longer than the longest.
SCALE = 0.1
LONGEST_PAUSE = 0.03


@dataclass(frozen=True)
class Recording:
    """One exchange."""

    name: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.request["method"])

    @property
    def path(self) -> str:
        return str(self.request["path"])

    @property
    def flow_id(self) -> str:
        """The flow that the path names: the first uuid in it."""
        path = self.path.partition("?")[0].removeprefix("/api/v1/").split("/")
        return path[2] if path[:2] == ["chatmessage", "abort"] else path[1] if len(path) > 1 and path[1] else "none"

    @property
    def body(self) -> Any:
        return self.request["body"]

    @property
    def status(self) -> int | None:
        """None: Flowise never answered."""
        status = self.response["status"]
        return None if status is None else int(status)

    @property
    def streams(self) -> bool:
        return "chunks" in self.response

    @cached_property
    def stream(self) -> bytes:
        return "".join(text for _, text in self.response["chunks"]).encode()

    @property
    def payload(self) -> bytes:
        if "json" in self.response:
            return json.dumps(self.response["json"]).encode()
        return str(self.response.get("text", "")).encode()

    def told(self, name: str) -> Any:
        """A field of the plain answer, or of a stream's metadata."""
        return self.metadata.get(name) if self.streams else self.response["json"].get(name)

    @property
    def metadata(self) -> dict[str, Any]:
        events = [json.loads(text.split("data:", 1)[1]) for _, text in self.response["chunks"] if "data:" in text]
        return next((dict(each["data"]) for each in events if each["event"] == "metadata"), {})


def load(name: str) -> Recording:
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Recording(name=found["name"], request=found["request"], response=found["response"])


NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
RECORDINGS = {name: load(name) for name in NAMES}


@dataclass
class Replay:
    """What a replaying server saw."""

    url: str = ""
    method: str = ""
    path: str = ""
    body: bytes = b""
    authorization: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def replaying(recording: Recording) -> AsyncIterator[Replay]:
    """Serve exactly the recorded response to whatever is asked."""
    seen = Replay()
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.method, seen.path = request.method, unquote(request.raw_path)
        seen.body = await request.read()
        seen.authorization = request.headers.get("Authorization")
        if recording.status is None:
            await over.wait()
            return web.Response()
        headers = {key: value for key, value in recording.response["headers"].items() if key != "Transfer-Encoding"}
        if not recording.streams:
            return web.Response(status=recording.status, headers=headers, body=recording.payload)
        response = web.StreamResponse(status=recording.status, headers=headers)
        await response.prepare(request)
        before = 0.0
        for at, text in recording.response["chunks"]:
            await asyncio.sleep(min((at - before) * SCALE, LONGEST_PAUSE))
            await response.write(text.encode())
            before = at
        if not recording.response["chunks"][-1][1].endswith('"data":"[DONE]"}\n\n'):
            # The recorder gave up here: Flowise said no more.
            await over.wait()
        return response

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    seen.url = f"http://{host}:{port}"
    try:
        yield seen
    finally:
        over.set()
        await runner.cleanup()
