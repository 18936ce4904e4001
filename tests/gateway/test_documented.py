"""The examples of docs/http.md do what the page says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from client_rooms import python_of, ran
from processes import REPOSITORY

from gateway.house import CREATIVE, GatewayHouse, served

PAGE = (REPOSITORY / "docs" / "http.md").read_text()
ADDRESS = "http://127.0.0.1:8766"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def said(*command: object, folder: Path) -> str:
    status, told = await ran(*command, cwd=folder)
    assert status == 0, told
    return told


async def test_the_examples_for_curl_are_answered(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gateway_house.build(CREATIVE, style="llm", files=["text/plain"])
    ask, file, follow = examples("bash")
    async with served(gateway_house, monkeypatch) as port, asyncio.timeout(100):
        told = [
            await said("bash", "-ec", each.replace(ADDRESS, f"http://127.0.0.1:{port}"), folder=tmp_path)
            for each in (ask, file, follow)
        ]

    assert json.loads(told[0])["state"] == "succeeded"
    assert json.loads(told[1])["links"]["events"]
    assert "event: final" in told[2]


async def test_the_example_in_javascript_runs(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The others are for the packages `openai` and `flowise-sdk`; tests of those APIs run them.
    example = examples("js")[0]
    node = python_of("node").parent / "node"
    async with served(gateway_house, monkeypatch) as port, asyncio.timeout(100):
        (tmp_path / "example.mjs").write_text(example.replace(ADDRESS, f"http://127.0.0.1:{port}"))
        told = await said(node, tmp_path / "example.mjs", folder=tmp_path)

    assert "token " in told
    assert told.strip().endswith("final succeeded technical-analysis")
