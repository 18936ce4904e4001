"""Files at once: ``python -m benchmarks.uploads [--files 100] [--megabytes 5] [--workers 1] [--json]``.

Starts its own broker, sandbox and workers, submits so many queries at once, each with a file of its own, and waits for
all answers. Prints the highest memory of each process, what is left of the files in Redis, and how many of them reached
the sandbox as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import redis

from agentic_flywheel.broker import wire
from agentic_flywheel.uploads import Upload
from benchmarks.lab.arguments import at_least, positive
from benchmarks.lab.asking import Row, environment, question, with_producer
from benchmarks.lab.parts import Lab, LabProcess, lab, wait_until
from benchmarks.lab.table import console, table
from producer import AsyncProducer, Submission

FLOW = "896f7eed-342e-4596-9429-6fb9b5fbd91b"
#: Seconds between two looks at the memory of the processes.
_EVERY = 0.1


def measure(here: Lab, files: int, size: int, workers: int) -> list[Row]:
    """Run it. Returns a row for each process, and one for all."""
    broker, redis_url = here.broker()
    sandbox, flowise_url = _sandbox(here)
    env = here.environment(redis_url, flowise_url)
    with environment(env):
        started = [here.worker(f"worker-{number}", dict(os.environ)) for number in range(workers)]
    paths = []
    for number in range(files):
        paths.append(here.folder / f"{number}.png")
        paths[-1].write_bytes(os.urandom(size))
    digests = {Upload.of(path).digest for path in paths}
    watched = {"broker": broker, "sandbox": sandbox, **{f"worker {n + 1}": each for n, each in enumerate(started)}}
    highest: dict[str, float] = {}
    found = with_producer(env, lambda producer: _ask_all(producer, paths, watched, highest))
    client = redis.Redis.from_url(redis_url)
    left = len(list(client.scan_iter(f"{wire.PREFIX}blob*", count=1000)))
    client.close()
    with urllib.request.urlopen(f"{flowise_url}/sandbox/calls", timeout=60) as response:
        recent = json.load(response)["recent"]
    arrived = {upload["data"]["sha256"] for call in recent for upload in call.get("uploads", ())}
    rows: list[Row] = [{"name": name, "highest_mb": round(value, 1)} for name, value in highest.items()]
    return [*rows, {**found, "files_as_they_were": len(arrived & digests), "keys_left": left}]


def _sandbox(here: Lab) -> tuple[LabProcess, str]:
    started = here.part("sandbox", [sys.executable, "-m", "flowise_sandbox"])
    wait_until(lambda: "http://" in started.log.read_text(), what="sandbox")
    url = re.findall(r"http://\S+", started.log.read_text())[0]
    flow = json.dumps({"style": "chat", "images": True}).encode()
    asked = urllib.request.Request(
        f"{url}/sandbox/flows/{FLOW}", flow, {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(asked, timeout=10).close()
    return started, url


async def _ask_all(
    producer: AsyncProducer, paths: list[Path], watched: dict[str, LabProcess], highest: dict[str, float]
) -> Row:
    watching = asyncio.create_task(_watch(watched, highest))
    began = time.monotonic()

    async def one(path: Path) -> None:
        submission = await producer.submit(question(0), flow="technical-analysis", uploads=[path])
        assert isinstance(submission, Submission)
        await producer.wait(submission.query_id, 300)

    await asyncio.gather(*map(one, paths))
    took = time.monotonic() - began
    watching.cancel()
    megabytes = sum(path.stat().st_size for path in paths) / 2**20
    return {"name": "all", "files": len(paths), "took_s": round(took, 2), "mb_per_s": round(megabytes / took, 1)}


async def _watch(watched: dict[str, LabProcess], highest: dict[str, float]) -> None:
    seen: dict[str, psutil.Process] = {name: psutil.Process(each.pid) for name, each in watched.items()}
    seen["producer"] = psutil.Process()
    while True:
        for name, each in seen.items():
            highest[name] = max(highest.get(name, 0.0), each.memory_info().rss / 2**20)
        await asyncio.sleep(_EVERY)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--files", type=at_least(1), default=100)
    asked.add_argument("--megabytes", type=positive, default=5.0)
    asked.add_argument("--workers", type=at_least(1), default=1)
    asked.add_argument("--json", action="store_true")
    given: Any = asked.parse_args()
    # A megabyte is a million here: Flowise takes images of 5 MiB.
    with lab() as here:
        rows = measure(here, given.files, int(given.megabytes * 1_000_000), given.workers)
    if given.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    console().print(table(f"{given.files} files of {given.megabytes:g} MB at once", rows))


if __name__ == "__main__":
    main()
