"""Flowise's chat widget, unmodified, in a real browser, in a page of another site and without a token."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from client_rooms import node_with_packages
from processes import wait_for

from gateway.flowise.chat_page import ChatPage, chat_page
from gateway.flowise.house import BROKEN, NARROW, POET, WidgetHouse
from gateway.house import TOKENS

pytestmark = pytest.mark.timeout(400)  # the room with the widget may have to be made first
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
#: Where the pictures go; a folder of the test's own where none is named.
SHOTS = os.environ.get("FLYWHEEL_SHOTS")


@pytest.fixture
async def page(widgets: WidgetHouse, chromium: str, tmp_path: Path) -> AsyncIterator[ChatPage]:
    node = await asyncio.to_thread(node_with_packages)
    widget = node.modules / "flowise-embed" / "dist" / "web.js"
    async with chat_page(widgets, chromium, tmp_path, widget, Path(SHOTS or tmp_path / "shots")) as opened:
        yield opened


async def test_a_conversation_with_its_starters_follow_ups_and_feedback(page: ChatPage, widgets: WidgetHouse) -> None:
    await page.open(POET)
    await page.shows("Write about rain")
    await page.shot("1-open")
    widgets.behave(POET, token_delay=0.05, follow_ups=True)
    await page.send("a poem about the sea and the storm")
    await page.until(f"!!{_of_bot('poem')}")
    await page.shot("2-streams")
    await page.idle()
    widgets.behave(POET, follow_ups=True)
    await page.send("another one about snow")
    await page.shows("Following up on “a poem about the sea and the storm”")
    await page.shows("What else is there to know")
    await page.idle()
    await page.press("Thumbs Up")
    await page.shows("Submit Feedback")
    await page.write("textarea.feedback-input", "nice answer")
    await page.press("Submit Feedback")
    await asyncio.to_thread(wait_for, lambda: _comments(widgets) == ["nice answer"], what="the comment")
    await page.shot("3-second-turn")

    chat = await page.chat_id()
    assert all(chat not in json.dumps(each) for each in widgets.latest(2))
    assert page.faults == []


async def test_sources_files_pictures_and_what_a_flow_makes(
    page: ChatPage, widgets: WidgetHouse, tmp_path: Path
) -> None:
    await page.open("papers")
    await page.send("What does the contract say about notice?")
    await page.shows("Sources:")
    await page.idle()
    await page.shot("4-sources")

    picture = tmp_path / "dot.png"
    picture.write_bytes(PNG)
    await page.open("seeing")
    await page.until(_FILE_INPUT)
    await page.pick(picture)
    await page.send("what is in the picture")
    await page.idle()
    await page.shot("5-picture")
    assert widgets.sent("what is in the picture")[0]["uploads"][0]["data"]["size"] == len(PNG)

    note = tmp_path / "note.txt"
    note.write_text("The secret word is walrus.\n")
    await page.open("reading")
    await page.until(_FILE_INPUT)
    await page.pick(note)
    await page.send("what is the secret")
    await page.idle()
    await page.shot("6-file")
    assert widgets.sent("what is the secret")[0]["uploads"][0]["data"] == "The secret word is walrus.\n"

    await page.open("plotter")
    await page.send("plot six times seven")
    await page.shows("plot")
    await page.idle()
    await page.until(
        f"[...{_ROOT}.querySelectorAll('img')].some((each) => each.src.includes('plot.png') && each.naturalWidth)"
    )
    await page.shot("7-artifacts")
    await page.press("Traces")
    await page.shows("Agent 0")
    await page.shot("7-traces")
    assert page.faults == []


async def test_forms_names_and_decisions(page: ChatPage, widgets: WidgetHouse) -> None:
    await page.open("expenses")
    await page.until(f"!!{_ROOT}.querySelector('input[name=employee]')")
    await page.shot("8-form")
    await page.write("input[name=employee]", "Ada")
    await page.write("input[name=amount]", "7")
    await page.run(f"{_ROOT}.querySelector('form button[type=submit]').click()")
    await page.shows("form: Ada, 7")
    await page.shot("9-form-sent")

    await page.open("leading")
    await page.shows("Who are you?")
    await page.write("input[name=name]", "Ada")
    await page.write("input[name=email]", "ada@example.com")
    await page.run(f"{_ROOT}.querySelector('form button[type=submit]').click()")
    await page.send("a poem for Ada")
    await page.idle()
    await page.shot("10-lead")
    assert [each["name"] for each in widgets.leads] == ["Ada"]

    await page.open("approval")
    await page.send("please do")
    await page.shows("Proceed with it?")
    await page.until(f"{_ROOT}.textContent.includes('Reject')")
    await page.shot("11-asks")
    await page.press("Proceed")
    await page.shows("Your Feedback")
    await page.write("textarea", "go ahead", at=-1)
    await page.press("Submit")
    await page.shows("approved")
    await page.shows("go ahead")
    await page.shot("12-decided")
    assert page.faults == []


async def test_an_error_is_shown_and_what_waits_says_so_and_stops(page: ChatPage, widgets: WidgetHouse) -> None:
    widgets.behave(BROKEN, fault="error_500")
    await page.open("broken")
    await page.send("x")
    await page.shows("There is no answer at the moment. Please try again later.")
    await page.shot("13-error")

    await page.open("technical")
    await page.send("x")
    await page.shows("Unauthorized")
    await page.shot("14-unauthorized")

    widgets.behave(NARROW, latency=30)
    await page.open("narrow")
    await page.send("the one that waits")
    await page.shows("Queued.")
    await page.until(f"!!{_ROOT}.querySelector('button[title=Stop]')")
    await page.shot("15-waits")
    await page.press("Stop")
    await page.shows("The question was stopped.")
    await page.idle()
    await page.shot("16-stopped")


async def test_a_chat_goes_on_after_a_cut(page: ChatPage, widgets: WidgetHouse) -> None:
    """The gateway is killed while it streams; its page says what came, and the chat goes on when it is there again."""
    url = await asyncio.to_thread(_gateway, widgets)
    widgets.behave(POET, token_delay=0.1)
    await page.open(POET, api=url)
    await page.send("a poem about lighthouses")
    await page.until(f"!!{_of_bot('melody')}")
    widgets.doors[-1].kill()
    await page.idle()
    await page.shot("17-cut")
    assert "explain it" not in await page.text()
    widgets.behave(POET)
    await asyncio.to_thread(_gateway, widgets, int(url.rpartition(":")[2]))
    await page.send("and one about ships")
    await page.shows("Following up on “a poem about lighthouses”")
    await page.idle()
    await page.shot("18-after-the-cut")

    assert widgets.calls("a poem about lighthouses") == 1


_ROOT = "document.querySelector('flowise-chatbot').shadowRoot"
_FILE_INPUT = f"!!{_ROOT}.querySelector('input[type=file]')"


def _of_bot(text: str) -> str:
    """Return an expression for a bubble of the bot with a text in it."""
    return f"[...{_ROOT}.querySelectorAll('.chatbot-host-bubble')].find((each) => each.innerText.includes('{text}'))"


def _gateway(widgets: WidgetHouse, port: int = 0) -> str:
    """Start a gateway that a test may kill."""
    return widgets.gateway(port=port, FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_HTTP_VISITORS="true")


def _comments(widgets: WidgetHouse) -> list[str]:
    found = [widgets.client.hgetall(key) for key in widgets.client.keys("flywheel:scores:*")]
    return [comment for each in found for value in each.values() if (comment := json.loads(value)["comment"])]
