"""What a flow's server is never told, or refuses, is remarked on when the registry is read, not with an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic_flywheel.registry.document import document_of
from agentic_flywheel.registry.reading import reading_of

SERVERS = """
currency: USD
prices: {m-1: {input: 1, output: 2}}
servers:
  openai: {address: 'http://127.0.0.1:8000', backend: openai}
  http: {address: 'http://127.0.0.1:8001', backend: http}
operational_flows:
"""


def remarks(flow: str) -> list[tuple[str, str]]:
    """Return the key of each remark on a flow, and what it says."""
    text = f"{SERVERS}  f: {{description: Answers, memory: none, {flow}}}\n"
    reading = reading_of(document_of(Path("flows.yaml"), text.encode()))
    assert reading.faults == ()
    return [(remark.key.removeprefix("operational_flows.f."), remark.text) for remark in reading.warnings]


@pytest.mark.parametrize(
    ("flow", "key", "said"),
    [
        (
            "server: openai, model: m-1, config: {topK: 3, systemMessage: Hi}",
            "config",
            "has systemMessage, topK, which is",
        ),
        ("server: openai, model: m-1, config: {stream: true}", "config", "has stream, which is never sent"),
        (
            "server: openai, model: m-1, config: {temperature: 9}",
            "config",
            "`temperature` should be a number from 0 to 2",
        ),
        ("server: openai, model: m-2", "model", "m-2 is none of `prices`: what its answers cost is unknown"),
        ("server: http, request: {path: /a}", "request", "has no place for {{question}}"),
        (
            "server: http, config: {a: 1, b: 2}, request: {body: ['{{question}}', '{{config.a}}']}",
            "config",
            "has b, which is",
        ),
    ],
)
def test_what_a_server_is_never_told_is_remarked_on(flow: str, key: str, said: str) -> None:
    ((place, text),) = remarks(flow)

    assert place == key
    assert said in text


@pytest.mark.parametrize(
    "flow",
    [
        "server: openai, model: m-1-2026-11-30, config: {temperature: 1, max_tokens: 9}, sampling: {top_k: 3}",
        "server: http, config: {a: 1}, request: {body: ['{{ question }}', '{{config}}']}",
        "server: http, config: {a: 1}, request: {path: '/{{config.a}}', body: '{{form.name}}'}",
        "server: http, request: {path: '/?q={{question}}', method: GET}, model: m-1",
        "id: f-1, config: {anything: 1}",
    ],
)
def test_what_a_server_is_told_is_not(flow: str) -> None:
    assert remarks(flow) == []
