"""A house whose flows stand for what people embed in their pages, and how to ask it as Flowise's clients do."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx2
from processes import free_port

from gateway.house import GatewayHouse

POET, PAPERS, TECHNICAL = (
    "7d405a51-968d-4467-9ae6-d49bf182cdf9",
    "2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11",
    "896f7eed-342e-4596-9429-6fb9b5fbd91b",
)
APPROVAL, FORM, SEEING, READING, PLOTTER, LEADING, NARROW, BROKEN, FARAWAY = (
    f"00000000-0000-4000-8000-0000000000{n}" for n in range(31, 40)
)
#: Where the page is in which the flows are embedded; the browser is told that this name is this machine.
SHOP = "shop.test"

_REGISTRY = """
intent_classification:
  fallback_flow: poet
operational_flows:
  poet: {{id: {poet}, domain: creative, public: {{origins: ["{shop}"]}}, examples: [Write a poem about the sea]}}
  papers: {{id: {papers}, domain: documents, memory: history, public: {{origins: ["{shop}"]}}}}
  technical: {{id: {technical}, domain: technical, examples: [How do I index a table in PostgreSQL?]}}
  approval: {{id: {approval}, domain: creative, public: {{origins: ["{shop}"]}}}}
  expenses:
    id: {form}
    domain: creative
    form: [{{name: employee}}, {{name: amount, type: number}}]
    public: {{origins: ["{shop}"]}}
  seeing: {{id: {seeing}, domain: creative, public: {{origins: ["{shop}"], uploads: true}}}}
  reading: {{id: {reading}, domain: creative, public: {{origins: ["*"], uploads: true}}}}
  plotter: {{id: {plotter}, domain: creative, public: {{origins: ["{shop}"]}}}}
  leading: {{id: {leading}, domain: creative, public: {{origins: ["{shop}"]}}}}
  narrow: {{id: {narrow}, domain: creative, cache: off, concurrency: 1, public: {{origins: ["{shop}"]}}}}
  faraway:
    id: {faraway}
    domain: creative
    server: http://127.0.0.1:1
    form: [{{name: employee}}, {{name: kind, type: options, options: [travel, meal]}}]
  broken: {{id: {broken}, domain: creative, attempts: 1, failure_ttl: 0, public: {{origins: ["{shop}"]}}}}
"""


class WidgetHouse(GatewayHouse):
    """Start it, set how its flows behave, ask it."""

    def __init__(self, folder: Path) -> None:
        self.page_port = free_port()
        self.shop = f"http://{SHOP}:{self.page_port}"
        ids = {
            "poet": POET, "papers": PAPERS, "technical": TECHNICAL, "approval": APPROVAL, "form": FORM,
            "seeing": SEEING, "reading": READING, "plotter": PLOTTER, "leading": LEADING, "narrow": NARROW,
            "broken": BROKEN, "faraway": FARAWAY,
        }  # fmt: skip
        super().__init__(folder, registry=_REGISTRY.format(shop=self.shop, **ids))

    def begin_anew(self) -> None:
        """Forget all queries, and have the flows as their names say."""
        self.reset()
        self.client.flushdb()
        self.build(
            POET,
            style="chat",
            voice="creative",
            chatbot={"starterPrompts": {"0": {"prompt": "Write about rain"}}, "chatFeedback": {"status": True}},
        )
        self.build(APPROVAL, style="approval")
        self.build(SEEING, images=True)
        self.build(READING, files=["text/plain"])
        self.build(PLOTTER, style="maker")
        leads = {"status": True, "title": "Who are you?", "name": True, "email": True, "successMessage": "Thanks"}
        self.build(LEADING, chatbot={"leads": leads})
        self.behave(POET, follow_ups=True)

    @property
    def leads(self) -> list[dict[str, Any]]:
        """What people left of themselves in Flowise."""
        found: list[dict[str, Any]] = self._counted()["leads"]
        return found


def chat() -> str:
    return str(uuid.uuid4())


async def asked(client: httpx2.AsyncClient, flow: str, **body: Any) -> list[tuple[str, Any]]:
    """Ask with a stream; return its frames, each as its event and data."""
    found = []
    async with client.stream("POST", f"/api/v1/prediction/{flow}", json={"streaming": True, **body}) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                found.append((event["event"], event["data"]))
    return found


def text_of(frames: list[tuple[str, Any]]) -> str:
    """Return what was said after the last beginning."""
    said = ""
    for name, data in frames:
        said = "" if name == "start" else said + data if name == "token" else said
    return said
