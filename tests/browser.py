"""A real, headless Chromium, driven over its DevTools protocol: what a page does, and what it looks like."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
)


class Page:
    """One tab. ``said`` holds what the console got, faults of scripts and refusals of the content policy among them."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.said: list[str] = []
        self.requested: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                if told["id"] in self._waiting:
                    self._waiting.pop(told["id"]).set_result(told)
            elif told["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif told["method"] == "Network.requestWillBeSent":
                self.requested.append(told["params"]["request"]["url"])
            elif told["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.said.append(json.dumps(told["params"]))
            elif told["method"] == "Page.javascriptDialogOpening":
                self.said.append(f"dialog: {told['params']['message']}")
                await self._socket.send_json(
                    {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
                )

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, 30)
        assert "error" not in told, told
        found: dict[str, Any] = told["result"]
        return found

    async def open(
        self,
        at: Path | str,
        *,
        headers: dict[str, str] | None = None,
        dark: bool = False,
        width: int = 1280,
        height: int = 900,
    ) -> None:
        """Load a file, or an address; ``headers`` go along with every request."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Network.setExtraHTTPHeaders", headers=headers or {})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self._loaded.clear()
        await self.call("Page.navigate", url=at.as_uri() if isinstance(at, Path) else at)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, evaluated by the debugger: the page's own policy is in force."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def screenshot(self, file: Path, *, whole: bool = False) -> None:
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(told["data"]))

    def close(self) -> None:
        self._reading.cancel()


@asynccontextmanager
async def browser(folder: Path, command: str, more: Sequence[str] = ()) -> AsyncIterator[Page]:
    """Start the browser with a profile of its own and give its page; all its processes end with it."""
    profile = folder / "profile"
    process = subprocess.Popen(
        [command, *_QUIET, f"--user-data-dir={profile}", *more, "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "browser.log").open("wb"),
        start_new_session=True,
    )
    try:
        port = await asyncio.wait_for(_port(profile / "DevToolsActivePort", process), 30)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                targets = await response.json()
            address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                try:
                    yield page
                finally:
                    page.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    while not (file.exists() and file.read_text().count("\n")):
        assert process.poll() is None, "the browser ended"
        await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])
