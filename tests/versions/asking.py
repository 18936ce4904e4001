"""Ask questions until told to stop: ``python -m versions.asking``.

Prints the id of each that is accepted, and when it was asked, on the monotonic clock of the machine.

One version of the product or another runs it. With ``--tone`` each query has a field that only the next one knows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
import uuid
from typing import Any

from agentic_flywheel.errors import FlywheelError
from producer import AsyncProducer

_QUESTIONS = (
    "How do I connect python to database {}?",
    "Write a poem about the sea {}",
    "Which database index does the join of case {} need? Which clause of the contract covers liability?",
)


async def ask(number: int, every: float, tone: str) -> None:
    """Ask ``number`` questions, 0: until SIGTERM, with ``every`` seconds in between on average."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    draw, mark = random.Random(), uuid.uuid4().hex[:6]
    more: dict[str, Any] = {"tone": tone} if tone else {}
    async with AsyncProducer() as producer:
        asked = 0
        while not stop.is_set() and (not number or asked < number):
            asked += 1
            # Some ask what is under way already, and some within a session.
            about = f"{mark}-{asked - asked % 3 if draw.random() < 0.2 else asked}"
            session = f"{mark}-{draw.randrange(4)}" if draw.random() < 0.2 else None
            flow = draw.choice([None, None, None, "fragile", "narrow"])
            question = draw.choice(_QUESTIONS).format(about)
            began = time.monotonic()
            try:
                submitted = await producer.submit(question, flow=flow, session_id=session, **more)
                sys.stdout.write(f"{submitted.query_id} {began:.3f}\n")
            except FlywheelError as refused:
                sys.stdout.write(f"not accepted: {type(refused).__name__}\n")
            sys.stdout.flush()
            await asyncio.sleep(draw.uniform(0, 2 * every))


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--number", type=int, default=0)
    options.add_argument("--every", type=float, default=0.05)
    options.add_argument("--tone", default="")
    given = options.parse_args()
    asyncio.run(ask(given.number, given.every, given.tone))
