"""The report: it holds what was found, opens from disk, and nothing that a flow answered can run or hide in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import browser
from replay.planted import failure, outcome, realistic, result, write

from producer.replay.gate import read_gate
from producer.replay.report import write_report
from producer.replay.report.embedded import as_script_data, trace_link
from producer.replay.report.svg import element
from producer.replay.results import ItemResult
from producer.replay.summary import Summary

HOSTILE = (
    "</script><script>window.hit=1;alert(1)</script>",
    '"><img src=x onerror="window.hit=1"><svg onload=window.hit=1>',
    "<!--<script>--><style>body{display:none}</style><base href=http://evil.example/>",
    "javascript:window.hit=1 {{constructor.constructor('window.hit=1')()}} ${window.hit=1}",
    "\u202egnitseretni\u202c \u2066isolated\u2069 \u200bhidden \x00\x07\x1b[31m\x9b ]]> \u2028 \u2029",
    "שלום עולם, مرحبا بالعالم",
    "x" * 1_000_000,
    "z\u0335\u0321" * 400 + "W" * 3000,
    "\ud800 lone",
)


class Tags(HTMLParser):
    """Which elements a page has, as a browser sees them, and what its data element holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.data = ""
        self._in_data = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._in_data = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def report(folder: Path, results: Sequence[ItemResult], **more: Any) -> tuple[Summary, str]:
    write(folder / "results.jsonl", results)
    summary = asyncio.run(write_report(folder, **more))
    return summary, (folder / "report.html").read_text(encoding="utf-8")


def read(page: str) -> Tags:
    parsed = Tags()
    parsed.feed(page)
    return parsed


def hostile_results() -> list[ItemResult]:
    """Results in which every text that can come from outside is hostile."""
    found = []
    for number, text in enumerate(HOSTILE, 1):
        sent = text.encode("utf-8", "replace").decode()
        flow = sent[:60]
        before = outcome(sent, flow, reason=sent, trace_id=sent[:50])
        after = outcome(f"{sent} and more", f"other {flow}", reason=sent, query_id=sent[:50])
        # A question is never this hostile: control characters in it are refused at the door.
        asked = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", sent)
        found.append(
            result(number, after, before, id=asked[:200], question=asked[:32_000], expected=asked, expected_flow="a")
        )
        found.append(result(100 + number, failure(sent[:80], flow).model_copy(update={"error": sent}), before))
    return found


def test_data_in_a_page_can_end_no_script_and_begin_none() -> None:
    for text in HOSTILE:
        written = as_script_data({"text": text})

        assert not re.search(r"[<>&\x00-\x1f\x7f-\U0010ffff]", written)
        assert json.loads(written) == {"text": text}


def test_markup_is_escaped_wherever_it_stands() -> None:
    made = element("text", "<b>", title='"><script>')

    assert made == '<text title="&quot;&gt;&lt;script&gt;">&lt;b&gt;</text>'


@pytest.mark.parametrize(
    ("base", "trace_id", "link"),
    [
        ("https://langfuse.example/", "ab12", "https://langfuse.example/trace/ab12"),
        ("https://langfuse.example", "a/../b?c", "https://langfuse.example/trace/a%2F..%2Fb%3Fc"),
        ("javascript:alert(1)//", "ab12", None),
        (None, "ab12", None),
        ("https://langfuse.example", "", None),
    ],
)
def test_a_trace_is_linked_where_there_is_a_web_address(base: str | None, trace_id: str, link: str | None) -> None:
    assert trace_link(base, trace_id) == link


def test_a_hostile_answer_adds_no_element_to_the_page(tmp_path: Path) -> None:
    _, tame = report(tmp_path / "tame", realistic(30, rerouted=[3], failing=[5]), trace_base="https://lf.example")
    _, page = report(tmp_path / "hostile", hostile_results(), trace_base="https://lf.example")

    parsed = read(page)
    assert set(parsed.tags) <= set(read(tame).tags)
    assert parsed.tags.count("script") == 2
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert len(json.loads(parsed.data)["items"]) == 2 * len(HOSTILE)
    # A megabyte is cut, and that is said.
    assert len(page) < 3_000_000
    assert any(
        each["after"]["cut"] and each["after"]["characters"] > 1_000_000 for each in json.loads(parsed.data)["items"]
    )


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    _, page = report(tmp_path, realistic(30, rerouted=[3]))

    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in policy[1]
    assert not {"src", "href", "action", "style"} & set(read(page).attributes)
    assert not re.search(r"url\(|@import", page)


def test_the_figures_are_in_page_and_summary(tmp_path: Path) -> None:
    summary, page = report(
        tmp_path, realistic(200, rerouted=range(1, 11), failing=[50]), gate=read_gate("route_changes<=2%, errors<=5%")
    )

    assert Summary.model_validate_json((tmp_path / "summary.json").read_text()) == summary
    assert not summary.gate_passed
    assert "The gate fails: 1\u00a0of\u00a02 conditions missed" in page
    assert "10 of 200 questions (5.0 %) took another route." in page
    assert "Routes before and now" in page
    assert len((tmp_path / "changes.jsonl").read_text().splitlines()) == 200
    first = json.loads(read(page).data)["items"][0]
    assert (first["number"], first["after"]["failed"]) == (50, True)


def test_a_page_of_many_items_says_how_many_it_shows(tmp_path: Path) -> None:
    _, page = report(tmp_path, [result(number, outcome(f"a{number}"), outcome("a")) for number in range(1, 601)])

    assert "The 500 most changed of 600 questions" in page


def test_a_replay_without_anything_still_has_a_report(tmp_path: Path) -> None:
    _, page = report(tmp_path, [])

    assert "Nothing was replayed" in page


def keep(picture: Path) -> None:
    """Keep a screenshot as an artefact where somebody asks for it."""
    folder = os.environ.get("FLYWHEEL_TEST_ARTEFACTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)


@pytest.mark.timeout(400)  # the room with Chromium may have to be made first
async def test_a_browser_shows_the_report_in_both_themes_and_runs_nothing_hostile(
    tmp_path: Path, chromium: str
) -> None:
    for name, results in (
        ("tame", realistic(120, rerouted=range(1, 9), failing=[30])),
        ("hostile", hostile_results()),
    ):
        write(tmp_path / name / "results.jsonl", results)
        await write_report(tmp_path / name, trace_base="https://lf.example")
    async with browser(tmp_path, chromium) as page:
        pictures = []
        for dark in (False, True):
            await page.open(tmp_path / "tame" / "report.html", dark=dark)
            pictures.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            await page.screenshot(tmp_path / f"report-{'dark' if dark else 'light'}.png")
            keep(tmp_path / f"report-{'dark' if dark else 'light'}.png")
        assert pictures == ["rgb(250, 249, 246)", "rgb(18, 19, 21)"]
        # The choice on the page wins over the system's.
        await page.evaluate("document.querySelector('.themes [value=light]').click()")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == pictures[0]
        # Filter, search, and one item opened.
        assert await page.evaluate("document.querySelectorAll('.item').length") == 120
        await page.evaluate(
            "[...document.querySelectorAll('#chips button')].find(b => b.textContent.startsWith('Other route')).click()"
        )
        assert await page.evaluate("document.querySelectorAll('.item').length") == 8
        await page.evaluate(_type("handbook"))
        assert 0 < await page.evaluate("document.querySelectorAll('.item').length") < 8
        await page.evaluate(_type("no such words"))
        assert await page.evaluate("document.getElementById('nothing').hidden") is False

        await page.open(tmp_path / "hostile" / "report.html")
        await page.evaluate("document.querySelectorAll('.item').forEach(each => { each.open = true })")
        assert await page.evaluate(
            "new Promise(done => setTimeout(() => done(document.querySelectorAll('.body').length), 300))"
        ) == 2 * len(HOSTILE)
        await page.evaluate("document.querySelectorAll('.below button').forEach(each => each.click())")
        assert await page.evaluate("window.hit === undefined") is True
        assert (
            await page.evaluate(
                "document.querySelectorAll('main img, main script, main style, main base, main iframe').length"
            )
            == 0
        )
        assert (
            await page.evaluate("[...document.links].every(each => each.href.startsWith('https://lf.example/trace/'))")
            is True
        )
        # Nothing is wider than the page, and what would be obeyed is shown as its number.
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
        shown = await page.evaluate("[...document.querySelectorAll('.answer .ctl')].map(each => each.textContent)")
        assert {"U+202E", "U+0000", "U+001B", "U+2066"} <= set(shown)
        await page.screenshot(tmp_path / "report-hostile.png")
        keep(tmp_path / "report-hostile.png")
        assert page.said == []
        assert all(each.startswith("file:") for each in page.requested)


def _type(words: str) -> str:
    return f"search.value = {json.dumps(words)}; search.dispatchEvent(new Event('input'))"
