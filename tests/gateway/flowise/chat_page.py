"""Flowise's chat widget, unmodified, in a page of a shop: write to it, press its buttons, see what it shows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from browser import Page, browser

from gateway.flowise.house import SHOP, WidgetHouse

_PAGE = """<!doctype html><meta charset="utf-8"><title>Shop</title><link rel="icon" href="data:,">
<body style="height:100vh;margin:0">
<script type="module">
import Chatbot from '/widget.js'
const given = JSON.parse(decodeURIComponent(location.hash.slice(1)))
const theme = {chatWindow: {showTitle: true, title: given.chatflowid, showAgentMessages: true, height: 660, width: 460,
                            sourceDocsTitle: 'Sources:'}}
if (given.token) given.onRequest = async (request) => {
    request.headers = {...(request.headers || {}), Authorization: `Bearer ${given.token}`}
}
Chatbot.init({...given, theme})
</script>"""
_ROOT = "document.querySelector('flowise-chatbot').shadowRoot"
#: How much the chat shows: a chosen file adds to it.
_PREVIEWS = f"{_ROOT}.querySelectorAll('*').length"
#: Seconds that a page has for what it is expected to show.
PATIENCE = 20.0


class ChatPage:
    """One page with a widget in it."""

    def __init__(self, page: Page, house: WidgetHouse, shots: Path) -> None:
        self._page, self._house, self._shots = page, house, shots

    async def open(self, flow: str, *, api: str | None = None, **given: Any) -> None:
        """Load the page for a flow and open its chat."""
        told = json.dumps({"chatflowid": flow, "apiHost": api or self._house.url, **given})
        # Another query string, because with another fragment alone no page is loaded.
        where = (
            f"{self._house.shop}/?{time.monotonic_ns()}#{await self._page.evaluate(f'encodeURIComponent({told!r})')}"
        )
        await self._page.open(where, width=520, height=760)
        await self.until("!!document.querySelector('flowise-chatbot')?.shadowRoot?.querySelector('button')")
        await self.run(f"{_ROOT}.querySelector('button').click()")
        await self.until(f"!!{_ROOT}.querySelector('textarea, form input')")
        # Until it knows whether the flow streams, it does not ask it to.
        for call in ("chatflows-streaming", "public-chatbotConfig"):
            await self.until(f"performance.getEntriesByType('resource').some((each) => each.name.includes('{call}'))")

    async def run(self, expression: str) -> Any:
        return await self._page.evaluate(expression)

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        give_up = time.monotonic() + PATIENCE
        while not await self.run(expression):
            assert time.monotonic() < give_up, f"{expression}\n{await self.text()}\n{self._page.said[-5:]}"
            await asyncio.sleep(0.05)

    async def text(self) -> str:
        """Return all that the chat shows."""
        found = await self.run(
            "document.querySelector('flowise-chatbot')?.shadowRoot?.querySelector('[part=bot]')?.innerText"
        )
        return found or str(await self.run("document.body.innerHTML.slice(0, 2000)"))

    async def shows(self, text: str) -> None:
        """Wait until the chat shows a text."""
        await self.until(f"{_ROOT}.textContent.includes({json.dumps(text)})")

    async def write(self, selector: str, text: str, *, at: int = 0) -> None:
        """Type into a field."""
        await self.run(f"[...{_ROOT}.querySelectorAll({json.dumps(selector)})].at({at}).focus()")
        await self._page.call("Input.insertText", text=text)

    async def send(self, text: str) -> None:
        """Type a message and press Enter."""
        await self.until(f"{_ROOT}.querySelector('textarea') && !{_ROOT}.querySelector('textarea').disabled")
        await self.write("textarea", text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self._page.call("Input.dispatchKeyEvent", type="keyDown", **key)
        await self._page.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def press(self, label: str) -> None:
        """Press the last button, or what stands for one, with this text or title."""
        named = json.dumps(label)
        found = (
            f"[...{_ROOT}.querySelectorAll('button, [role=button], [data-modal-target], div, span, p')]"
            f".filter((each) => each.title === {named} || (each.innerText || '').trim() === {named})"
        )
        await self.until(f"{found}.length > 0")
        await self.run(f"{found}.at(-1).click()")

    async def pick(self, file: Path) -> None:
        """Choose a file for the next message, and wait until the page has read it."""
        seen = await self.run(_PREVIEWS)
        told = await self._page.call("Runtime.evaluate", expression=f"{_ROOT}.querySelector('input[type=file]')")
        await self._page.call("DOM.setFileInputFiles", files=[str(file)], objectId=told["result"]["objectId"])
        await self.until(f"{_PREVIEWS} > {seen}")

    async def idle(self) -> None:
        """Wait until the last answer is whole."""
        await self.until(
            f"!{_ROOT}.querySelector('.lds-ellipsis, .bubble1') && !{_ROOT}.querySelector('textarea')?.disabled"
        )

    async def chat_id(self) -> str:
        """Return the chat's name, as the widget keeps it."""
        found: str = await self.run(
            "JSON.parse(Object.entries(localStorage).find(([name]) => name.endsWith('_EXTERNAL'))[1]).chatId"
        )
        return found

    async def shot(self, name: str) -> None:
        self._shots.mkdir(exist_ok=True)
        await self._page.screenshot(self._shots / f"{name}.png")

    @property
    def faults(self) -> list[str]:
        """What the console got that is an error."""
        return [each for each in self._page.said if '"error"' in each or "exceptionThrown" in each]


@asynccontextmanager
async def chat_page(
    house: WidgetHouse, chromium: str, folder: Path, widget: Path, shots: Path
) -> AsyncIterator[ChatPage]:
    """Serve the shop, and show it in a browser. The API has another origin than the page: CORS is the browser's own."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(widget, headers={"Content-Type": "text/javascript"})

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/widget.js", script)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", house.page_port, reuse_address=True).start()
        # A page that is not of this machine may ask one that is only where the browser does not protect that.
        more = (
            f"--host-resolver-rules=MAP {SHOP} 127.0.0.1",
            "--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessSendPreflights,BlockInsecurePrivateNetworkRequests",
        )
        async with browser(folder, chromium, more) as opened:
            yield ChatPage(opened, house, shots)
    finally:
        await runner.cleanup()
