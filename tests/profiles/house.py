"""A house whose flows differ in how they are told a profile and in who remembers, with profiles of every privacy."""

from __future__ import annotations

import json
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from pipeline.house import House

#: In every text of the confidential profile, and nowhere else.
MARKER = "Quetzalbrook"

REGISTRY = """
intent_classification:
  fallback_flow: creative
operational_flows:
  technical:
    id: 00000000-0000-4000-8000-000000000001
    cache: shared
    intent_keywords: [python, database, docker]
    examples: [How do I connect PostgreSQL to Python?, Which index does this join need?, Why is the docker build slow?]
  creative:
    id: 00000000-0000-4000-8000-000000000002
    memory: history
    intent_keywords: [poem, story, painting]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?]
  documents:
    id: 00000000-0000-4000-8000-000000000003
    memory: history
    history_turns: 5
    intent_keywords: [contract, clause, pdf]
    examples: [What does the contract say about notice?, Which clause covers liability?, Summarise this PDF]
  by-system:
    id: 00000000-0000-4000-8000-000000000004
    injection: system
    config: {systemMessage: Be brief.}
  by-vars:
    id: 00000000-0000-4000-8000-000000000005
    injection: vars
  stubborn:
    id: 00000000-0000-4000-8000-000000000006
    attempts: 1
"""
TECHNICAL, CREATIVE, DOCUMENTS, _, _, STUBBORN = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 7))

PAYMENTS = """
description: Card and account-to-account payments for small shops.
keywords: [settlement, python service, database]
technical:
  stack: [Python 3.12, PostgreSQL 16]
  rule: Money is an integer of cents.
strategic: The next market is Portugal.
"""
VAULT = f"""
title: Project {MARKER}
description: The takeover of {MARKER}.
privacy: confidential
owners: [alice, bella]
keywords: [{MARKER} deal]
technical: {{systems: "{MARKER} runs on two mainframes"}}
cultural: "{MARKER} people speak plainly."
strategic: ["Offer for {MARKER}: 40 million", "Close before June"]
"""


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


def session() -> str:
    return f"s-{uuid.uuid4().hex[:12]}"


class ProfileHouse(House):
    """Its workers and producers read profiles from one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, registry=REGISTRY, workers={"FLYWHEEL_UNSERVED_TIMEOUT": "1s"})
        self.profiles.mkdir()
        self.write("payments", PAYMENTS)
        self.write("vault", VAULT)
        self.write("broken", "description: x\ntechnical: y\nprivacy: secret\n")

    def write(self, name: str, text: str) -> None:
        (self.profiles / f"{name}.yaml").write_text(text)

    def received(self, question: str) -> list[dict[str, Any]]:
        """Return the bodies that reached Flowise with this question, whatever stood in front of it."""
        with urllib.request.urlopen(f"{self.flowise_url}/sandbox/calls", timeout=30) as response:
            recent: list[dict[str, Any]] = json.load(response)["recent"]
        return [body for body in recent if str(body.get("question", "")).endswith(question)]

    def received_one(self, question: str) -> dict[str, Any]:
        (only,) = self.received(question)
        return only
