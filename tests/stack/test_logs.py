"""Logs of what ``flywheel up`` starts, and of a bridge: bounded, and whole however a process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from processes import Valkey, free_port, wait_for

from agentic_flywheel import log_files
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.stack import start_stack

BOUND = 20_000
TALKATIVE = """
import logging, os, sys
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.settings import load_settings
keep_log(load_settings())
for number in range(2000):
    print("printed", number, flush=True)
    logging.getLogger("its").warning("logged %d", number)
    os.write(2, b"written\\n")
os.kill(os.getpid(), 9)
"""


HOSTILE = """
import logging
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.settings import load_settings
keep_log(load_settings())
hostile = chr(10) + "[2026-11-29: CRITICAL] forged" + chr(27) + "[31m" + chr(0x85) + "end"
log = logging.getLogger("its")
log.warning("task %s of %d", hostile, 2)
log.warning("task %(id)s", {"id": hostile})
log.warning("task %r", KeyError(hostile))
log.warning("first\\nsecond")
"""


def started(module: str, *arguments: str, log: Path, **env: str) -> subprocess.Popen[bytes]:
    values = {"FLYWHEEL_LOG_FILE": str(log), "FLYWHEEL_LOG_BYTES": str(BOUND), "FLYWHEEL_METRICS_PORT": "off", **env}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env={**os.environ, **values}, cwd=log.parent, stdin=subprocess.PIPE)


def commands(port: int) -> dict[str, Sequence[str]]:
    return {
        "flowise_sandbox": ["--port", "0"],
        "producer.stack.flower": [f"--port={port}", "--address=127.0.0.1", "--basic_auth=me:secret"],
        "workers": ["--name", "bounded"],
        "mcp_bridge": ["--http", str(port), "--log-level", "INFO"],
    }


@pytest.mark.parametrize("module", commands(0))
def test_a_log_that_is_full_is_put_aside(tmp_path: Path, valkey: Valkey, module: str) -> None:
    log = tmp_path / "its.log"
    log.write_bytes(b"x" * BOUND)
    env = {"FLYWHEEL_REDIS_URL": valkey.url, "FLYWHEEL_FLOWISE_BASE_URL": "http://127.0.0.1:9"}
    process = started(module, *commands(free_port())[module], log=log, FLYWHEEL_HOME=str(tmp_path), **env)
    try:
        wait_for(
            lambda: (tmp_path / "its.log.1").exists() and log.exists() and log.stat().st_size,
            within=30,
            what="a new log",
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    assert (tmp_path / "its.log.1").read_bytes()[:BOUND] == b"x" * BOUND
    assert b"xx" not in log.read_bytes()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("module", [*commands(0), "http_gateway"])
def test_a_log_that_cannot_be_written_ends_its_process_with_a_reason(tmp_path: Path, module: str) -> None:
    command = [sys.executable, "-m", module, *commands(0).get(module, ())]
    env = {**os.environ, "FLYWHEEL_LOG_FILE": str(tmp_path / "nowhere" / "its.log"), "REDIS_URL": "redis://127.0.0.1:9"}
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert "FLYWHEEL_LOG_FILE is not acceptable" in ended.stderr.splitlines()[0]


def test_what_nobody_takes_of_what_a_process_says_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, unread = os.pipe()
    os.close(reader)
    for descriptor in (unread, os.open("/dev/full", os.O_WRONLY)):
        own = open(descriptor, "w", closefd=False)  # noqa: SIM115 - what it holds in the end is lost
        for name in ("stderr", "__stderr__"):
            monkeypatch.setattr(sys, name, own)
        monkeypatch.setattr(log_files, "STDERR", descriptor)
        log_files.keep_log(Settings(), descriptors=(descriptor,))

        log_files.tell("said")
        print("said", file=sys.__stderr__, flush=True)
        os.close(descriptor)


def test_a_stream_in_the_place_of_a_descriptors_stays(capsys: pytest.CaptureFixture[str]) -> None:
    log_files.keep_log(Settings())

    log_files.tell("said")
    assert capsys.readouterr().err == "said\n"


def test_what_a_killed_process_logged_printed_and_wrote_stays_bounded_and_readable(tmp_path: Path) -> None:
    log = tmp_path / "its.log"
    env = {**os.environ, "FLYWHEEL_LOG_FILE": str(log), "FLYWHEEL_LOG_BYTES": str(BOUND), "FLYWHEEL_LOG_FILES": "3"}
    status = subprocess.run([sys.executable, "-c", TALKATIVE], env=env, check=False, capture_output=True).returncode

    files = sorted(tmp_path.glob("its.log*"))
    assert status == -signal.SIGKILL
    assert [each.name for each in files] == ["its.log", "its.log.1", "its.log.2", "its.log.3"]
    assert all(each.stat().st_size <= BOUND + 200 for each in files)
    last = log.read_text().splitlines()[-3:]
    assert (last[0], last[2]) == ("printed 1999", "written")
    assert last[1].endswith("logged 1999")


async def test_the_log_of_a_busy_worker_under_up_is_bounded_and_survives_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_LOG_BYTES", str(BOUND))
    monkeypatch.setenv("FLYWHEEL_LOG_FILES", "2")
    logs = tmp_path / "home" / "logs"
    async with start_stack(Settings(home=tmp_path / "home"), private=True, on_line=lambda _: None) as stack:
        settings = Settings(
            home=tmp_path / "home", redis_url=stack.info.redis_url, flowise_base_url=stack.info.flowise_url
        )
        async with AsyncProducer(settings) as producer:
            for number in range(300):
                await producer.submit(f"question {number}")
            last = await producer.ask("the last question", wait=60)
        os.kill(stack.info.pids["worker-1"], signal.SIGKILL)
        found = {each.name: each.stat().st_size for each in logs.glob("worker-1.log*")}
        text = "".join(each.read_text() for each in logs.glob("worker-1.log*"))

    assert set(found) == {"worker-1.log", "worker-1.log.1", "worker-1.log.2"}
    assert max(found.values()) <= BOUND + 5000
    assert last.query_id in text


def test_a_bridge_over_stdio_keeps_its_stdout_for_the_protocol(tmp_path: Path) -> None:
    log = tmp_path / "its.log"
    env = {**os.environ, "FLYWHEEL_LOG_FILE": str(log), "FLYWHEEL_HOME": str(tmp_path)}
    hello = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        '"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "mcp_bridge", "--log-level", "DEBUG"],
        input=hello.encode(),
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert b'"protocolVersion"' in done.stdout
    assert done.stderr == b""
    assert log.read_text()


def test_what_comes_from_outside_makes_no_line_and_no_colour_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "its.log"
    subprocess.run([sys.executable, "-c", HOSTILE], env={**os.environ, "FLYWHEEL_LOG_FILE": str(log)}, check=True)

    lines = log.read_text().split("\n")[:-1]
    assert len(lines) == 5
    assert [line.count("CRITICAL") for line in lines] == [1, 1, 1, 0, 0]
    assert all(line.isprintable() for line in lines)
    assert lines[0].endswith(r"task \n[2026-11-29: CRITICAL] forged\x1b[31m\x85end of 2")
    assert lines[3:] == [lines[3], "second"]
