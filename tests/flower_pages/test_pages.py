"""What a person sees in Flower, in a real Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from browser import Page, browser
from pipeline.house import NARROW, TECHNICAL, House

from agentic_flywheel.errors import FlowFailed, QueryCancelled
from flower_pages.conftest import Flower
from flower_pages.test_states import MARKER, fresh
from producer import AsyncProducer


async def until_shown(page: Page, *texts: str, clock: float = 20) -> str:
    """Return the page's text as soon as all of these are in it."""
    shown = ""
    try:
        async with asyncio.timeout(clock):
            while not all(text in shown for text in texts):
                shown = str(await page.evaluate("document.body.innerText"))
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{texts} are not all in:\n{shown}") from None
    return shown


async def keep(page: Page, folder: Path, name: str) -> None:
    """Keep a screenshot as an artefact where somebody asks for it."""
    wanted = os.environ.get("FLYWHEEL_TEST_ARTEFACTS")
    if wanted:
        await page.screenshot(folder / f"{name}.png")
        Path(wanted).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{name}.png", wanted)


@pytest.mark.timeout(400)  # the room with Chromium may have to be made first
async def test_a_person_finds_a_failed_query_and_its_reason(
    producer: AsyncProducer, flower: Flower, house: House, tmp_path: Path, chromium: str
) -> None:
    well = await producer.ask(fresh("Which index does this join need?"), wait=20)
    parts = await producer.ask(fresh("Write a poem about the sea, and why is the docker build slow?"), wait=20)
    question = fresh("cached")
    await producer.ask(question, flow="prose", wait=20)
    cached = await producer.ask(question.upper(), flow="prose", wait=20)
    house.behave(TECHNICAL, fault="provider_401")
    broken = await producer.submit(fresh("broken"), flow="technical-analysis")
    with pytest.raises(Exception, match="refused"):
        await producer.wait(broken.query_id, timeout=20)
    house.behave(NARROW, latency=20)
    stopped = await producer.submit(fresh("stopped"), flow="narrow")
    await flower.row(stopped.query_id, "STARTED")
    await producer.cancel(stopped.query_id)
    with pytest.raises(QueryCancelled):
        await producer.wait(stopped.query_id, timeout=30)
    await flower.row(stopped.query_id, "REVOKED")
    await flower.row(broken.query_id, "FAILURE")

    async with browser(tmp_path, chromium) as page:
        await page.open(f"{flower.url}/tasks", headers=flower.headers, width=1600)
        shown = await until_shown(page, well.query_id, stopped.query_id, "REVOKED", "SUCCESS", "FAILURE")
        await keep(page, tmp_path, "all")
        assert parts.query_id in shown
        assert cached.query_id in shown
        assert "cached, " in shown

        await page.evaluate("document.querySelector('[data-task-state=FAILURE]').click()")
        shown = await until_shown(page, broken.query_id, "What to do: ")
        await keep(page, tmp_path, "failed")
        async with asyncio.timeout(20):
            while well.query_id in shown or "REVOKED" in shown:
                shown = str(await page.evaluate("document.body.innerText"))
                await asyncio.sleep(0.1)
        assert "FlowUnauthorized" in shown

        await page.open(f"{flower.url}/task/{broken.query_id}", headers=flower.headers)
        shown = await until_shown(page, "FAILURE", "FlowUnauthorized: ", "What to do: ")
        await keep(page, tmp_path, "one")
        assert "technical-analysis" in shown

        await page.open(f"{flower.url}/broker", headers=flower.headers)
        await keep(page, tmp_path, "broker")
        assert MARKER not in shown


@pytest.mark.timeout(400)  # the room with Chromium may have to be made first
async def test_failed_queries_are_counted_as_failed(
    producer: AsyncProducer, flower: Flower, house: House, tmp_path: Path, chromium: str
) -> None:
    house.behave(TECHNICAL, fault="error_500")
    query = await producer.submit(fresh("counted"), flow="technical-analysis")
    with pytest.raises(FlowFailed):
        await producer.wait(query.query_id, timeout=20)
    await flower.row(query.query_id, "FAILURE")

    async with browser(tmp_path, chromium) as page:
        await page.open(f"{flower.url}/workers", headers=flower.headers)
        await until_shown(page, "w0@")
        await keep(page, tmp_path, "workers")

    assert "task-failed" in await flower.text("/metrics")
