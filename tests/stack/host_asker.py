"""Ask a gateway until a file is there, then wait for all answers: ``python -m stack.host_asker ADDRESS TOKEN STOP``.

Prints how the queries that were accepted have ended, as JSON: their number by state, and that of questions that were
not accepted.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

#: Seconds between two questions, and for which one answer is waited for.
PACE, LONGEST = 0.05, 40


def main(address: str, token: str, stop: Path) -> None:
    def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(address + path, data, head), timeout=50) as said:
            told: dict[str, Any] = json.load(said)
        return told

    accepted: list[str] = []
    refused = 0
    while not stop.exists():
        question = f"How do I connect python to database {len(accepted) + refused}?"
        try:
            accepted.append(call("/v1/queries", {"question": question})["query_id"])
        except urllib.error.URLError:
            refused += 1
        time.sleep(PACE)
    ends = Counter(call(f"/v1/queries/{query_id}?wait={LONGEST}")["state"] for query_id in accepted)
    print(json.dumps({"refused": refused, "states": ends}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
