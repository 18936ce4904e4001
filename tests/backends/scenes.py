"""A server that does what a test tells it, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Asked:
    """One request as it came. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Scene:
    """How one request is answered: a head, then the parts of a body, and what follows them.

    ``raw``: the parts are all that is sent, byte for byte.
    """

    parts: Iterable[bytes] = ()
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Seconds before each part.
    pause: float = 0.0
    #: ``cut``: the connection ends before the body does; ``never``: nothing more comes; ``silent``: not even a head;
    #: ``kept``: the next request may come on the same connection.
    ends: Literal["whole", "cut", "never", "silent", "kept"] = "whole"
    raw: bool = False


@dataclass
class SceneServer:
    """A listening server. The last of its scenes is played for every further request."""

    scenes: Sequence[Scene]
    #: Answers to requests whose path holds the name; these are played besides, and not remembered.
    beside: Mapping[str, Scene] = field(default_factory=dict)
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    #: Set once a request has come.
    called: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set once a client has closed its connection while it was left to wait.
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            kept = True
            while kept:
                asked = await _request(reader)
                scene = next((scene for name, scene in self.beside.items() if name in asked.path), None)
                if scene is None:
                    self.asked.append(asked)
                    self.called.set()
                    scene = self.scenes[min(len(self.asked), len(self.scenes)) - 1]
                await self._play(scene, reader, writer)
                kept = scene.ends == "kept"
        writer.close()

    async def _play(self, scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if scene.raw:
            for part in scene.parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(scene.pause)
            return
        if scene.ends != "silent":
            lines = {"Content-Type": scene.kind, "Transfer-Encoding": "chunked", "Connection": "close"} | dict(
                scene.headers
            )
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            writer.write(f"HTTP/1.1 {scene.status} Told\r\n{head}\r\n".encode())
            # An empty part would be the end of the body.
            for part in filter(None, scene.parts):
                await asyncio.sleep(scene.pause)
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
        if scene.ends == "whole":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif scene.ends != "cut":
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.gone.set()


async def _request(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@contextlib.asynccontextmanager
async def serving(*scenes: Scene, beside: Mapping[str, Scene] | None = None) -> AsyncIterator[SceneServer]:
    """Play these scenes, one for each request."""
    server = SceneServer(scenes, beside or {})
    async with await asyncio.start_server(server._serve, "127.0.0.1", 0) as listening:
        server.address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
