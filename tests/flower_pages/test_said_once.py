"""A worker that has nothing to do says what it is once, not in every round of its loops."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

from langfuse_server import LangfuseServer
from pipeline.house import House


def test_what_a_worker_says_beside_its_queries_it_says_once(tmp_path: Path) -> None:
    with LangfuseServer() as server:
        house = House(tmp_path)
        try:
            worker = house.worker(events=True, **server.environment)
            # Sweeps, reconciling, leases, scores, heartbeats: all have had several rounds.
            time.sleep(6)
            said = Counter(
                re.sub(r"^\[[^]]*\] ", "", line) for line in worker.log.splitlines() if re.match(r"\[\d{4}-", line)
            )
        finally:
            house.stop()

    assert said
    assert [line for line, times in said.items() if times > 1] == []
