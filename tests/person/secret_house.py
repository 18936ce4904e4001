"""A house in which every address holds a password, every key is a secret, and configurations hold some too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis
from bridge_house import ALICE, BridgeHouse

#: The line of the flow `document-qa` after which it gets a server and a configuration with secrets.
CONTRACTS = "    intent_keywords: [contract, clause, pdf]"
#: Is part of every password, key and token of this house.
SECRET = "hunter2-sentinel"


def with_login(url: str) -> str:
    return url.replace("://", f"://someone:{SECRET}@")


#: A configuration with secrets of every kind, the first of which Flowise honours.
CONFIG: dict[str, Any] = {
    "openAIApiKey": f"sk-{SECRET}",
    "headers": {"X-Token": [SECRET], "X-Auth": SECRET, "Cookie": f"sid={SECRET}", "from": f"Bearer {SECRET}"},
    "pwd": SECRET,
    "pem": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
    "proxy": with_login("http://p"),
}


class SecretHouse(BridgeHouse):
    """Every address holds a password, every key is a secret."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = self.registry.read_text()
        line = f"server: {with_login(self.flowise_url)}\n    config: {json.dumps(CONFIG)}"
        assert text.count(CONTRACTS) == 1
        self.registry.write_text(text.replace(CONTRACTS, f"{CONTRACTS}\n    {line}"))
        with redis.Redis(port=self.broker.port) as client:
            client.execute_command("ACL", "SETUSER", "someone", "on", f">{SECRET}", "~*", "&*", "+@all")

    @property
    def secrets(self) -> dict[str, Any]:
        """The environment of whoever works here."""
        gone = with_login("http://127.0.0.1:9")
        return {
            **self.env,
            "REDIS_URL": with_login(self.broker.url),
            "FLYWHEEL_REDIS_URL": with_login(self.broker.url),
            "FLYWHEEL_FLOWISE_BASE_URL": with_login(self.flowise_url),
            "FLOWISE_BASE_URL": with_login(self.flowise_url),
            "LANGFUSE_PUBLIC_KEY": f"pk-{SECRET}",
            "LANGFUSE_SECRET_KEY": f"sk-{SECRET}",
            "LANGFUSE_BASE_URL": gone,
            "FLYWHEEL_MCP_RATE": "1000",  # a walk over all tools is quick
            "FLYWHEEL_MCP_TOKENS": f"alice={ALICE},other={SECRET}-0123456789",
        }
