"""The flows of these tests, and what is read of a completion."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx2

REGISTRY = """
intent_classification:
  fallback_flow: creative-orientation
  on_low: clarify
  bands: {high: 0.95, medium: 0.9}
  side_calls: titles
operational_flows:
  technical-analysis:
    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
    name: Technical Analysis
    domain: technical
    intent_keywords: [python, database, docker]
    examples: [How do I connect PostgreSQL to Python?, Which index does this join need?, Why is the docker build slow?]
  creative-orientation:
    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
    name: Creative Orientation
    domain: creative
    intent_keywords: [poem, story, painting]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?]
  plain:
    id: 00000000-0000-4000-8000-000000000001
    domain: plain
    cache: off
    attempts: 2
  broken:
    id: 00000000-0000-4000-8000-000000000002
    domain: broken
    attempts: 1
    failure_ttl: 0
  asking:
    id: 00000000-0000-4000-8000-000000000020
    domain: asking
  seeing:
    id: 00000000-0000-4000-8000-00000000000c
    domain: seeing
  titles:
    id: 00000000-0000-4000-8000-000000000003
    domain: titles
"""
PLAIN, BROKEN, TITLES = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
TECHNICAL = "896f7eed-342e-4596-9429-6fb9b5fbd91b"
ASKING, SEEING = "00000000-0000-4000-8000-000000000020", "00000000-0000-4000-8000-00000000000c"
PATH = "/v1/chat/completions"
_numbers = itertools.count(1)


def question() -> str:
    """A question that no test has asked."""
    return f"What rhymes with orange number {next(_numbers)}?"


def body(text: str, model: str = "plain", **more: Any) -> dict[str, Any]:
    """The body of a completion that asks one question."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def text_in(response: httpx2.Response) -> str:
    """The text of a whole completion."""
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def query_of(response: httpx2.Response) -> str:
    """The query behind a completion."""
    return response.headers["x-request-id"]


def chunks_in(response: httpx2.Response) -> list[dict[str, Any]]:
    """The chunks of a stream that has ended; it has ended as it should."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = [each for each in response.text.split("\n\n") if each]
    assert frames[0] == ": queued"
    assert frames[-1] == "data: [DONE]"
    return [json.loads(each[6:]) for each in frames[1:-1] if each.startswith("data: ")]


def streamed_text(chunks: list[dict[str, Any]]) -> str:
    """What the chunks say."""
    deltas = [each["choices"][0]["delta"] for each in chunks if each.get("choices")]
    return "".join(each.get("content", "") for each in deltas)
