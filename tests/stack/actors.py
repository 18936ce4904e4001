"""Services with known behaviour, and a stack of them to kill: ``python -m stack.actors HOME PORT``."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

from agentic_flywheel.settings import Settings
from producer.stack import launch
from producer.stack.processes import Service, Stage

#: Says in a diary what happens to it, and whether the broker is there, and other commands find the stack, when it is
#: asked to end.
ACTOR = """
import pathlib, signal, socket, sys, time
name, diary, port, stubborn = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "stubborn"
def say(what):
    with diary.open("a") as file:
        file.write(f"{name} {what}\\n")
def asked(*_):
    say("asked, stack found" if (diary.parent / "up.json").exists() else "asked, stack not found")
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        say("asked, broker there")
    except OSError:
        say("asked, broker gone")
    if not stubborn:
        time.sleep(0.2)
        say("ended")
        sys.exit(0)
signal.signal(signal.SIGTERM, asked)
say("started")
while True:
    time.sleep(0.1)
"""


def actor(
    name: str, stage: Stage, diary: Path, *, port: int = 1, stubborn: bool = False, grace: float = 5.0
) -> Service:
    async def ready() -> bool:
        return diary.exists() and f"{name} started" in diary.read_text()

    manner = "stubborn" if stubborn else "willing"
    argv = (sys.executable, "-c", ACTOR, name, str(diary), str(port), manner)
    return Service(name, argv, stage, ready, grace=timedelta(seconds=grace))


async def main(home: Path, port: int) -> None:
    settings = Settings(home=home, redis_url=f"redis://127.0.0.1:{port}/0")
    diary = home / "diary"
    async with launch.start_stack(settings, workers=0, flower=False, sandbox=False, on_line=print) as stack:
        await stack.start(
            [
                actor("companion", Stage.COMPANION, diary, port=port),
                actor("worker-1", Stage.WORKER, diary, port=port),
                actor("worker-2", Stage.WORKER, diary, port=port),
            ]
        )
        stack.publish()
        print(json.dumps(stack.info.pids), flush=True)
        await stack.wait()
    print("left with", "an interruption" if stack.interrupted else "no interruption", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
