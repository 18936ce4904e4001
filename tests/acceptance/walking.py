"""Carry out the commands that stdin lists as JSON, several at once, and print how each ends.

Run as a program by a Python that has what the commands shall find. It imports them once; each runs in a fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from producer.cli import main
from producer.cli.commands import COMMANDS, load_command

#: Commands at once.
_WIDTH = 16
#: Seconds after which a command is killed.
_MOST = 90.0


def begin(words: list[str], env: dict[str, str], log: str) -> int:
    """Return the process id of a command."""
    if pid := os.fork():
        return pid
    status = 70
    try:
        output = os.open(log, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.environ.update(env)
        sys.argv = ["flywheel", *words]
        main()
    except SystemExit as left:
        status = int(left.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def walk(commands: list[tuple[list[str], dict[str, str]]]) -> list[tuple[int, str]]:
    """Return how each command ended and what it said; -9 is the status of one that did not end in time."""
    statuses: dict[int, int] = {}
    running: dict[int, tuple[int, float]] = {}
    ahead = list(enumerate(commands))
    with tempfile.TemporaryDirectory() as folder:
        logs = [os.path.join(folder, str(number)) for number in range(len(commands))]
        while ahead or running:
            while ahead and len(running) < _WIDTH:
                number, (words, env) = ahead.pop(0)
                Path(logs[number]).touch()
                running[begin(words, env, logs[number])] = number, time.monotonic() + _MOST
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                statuses[running.pop(pid)[0]] = os.waitstatus_to_exitcode(status)
                continue
            for late in [each for each, (_, until) in running.items() if time.monotonic() > until]:
                os.kill(late, signal.SIGKILL)
            time.sleep(0.01)
        said = [Path(log).read_text(encoding="utf-8") for log in logs]
    return [(statuses[number], said[number]) for number in range(len(commands))]


if __name__ == "__main__":
    for name in COMMANDS:
        with contextlib.suppress(ModuleNotFoundError):  # it says so itself
            load_command(name)
    json.dump(walk(json.load(sys.stdin)), sys.stdout)
