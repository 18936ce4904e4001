"""Whichever way a question comes, what is not acceptable is refused by the same error and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import State
from pipeline.house import House
from producer import AsyncProducer

COMMAND = str(Path(sys.executable).parent / "flywheel")
DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"question": "a\x00b"}, "question"),
    ({"question": "a\ud800b"}, "question"),
    ({"question": "x", "session_id": "a\u202eb"}, "session_id"),
    ({"question": "x", "user": "a\u200bb"}, "user"),
    ({"question": "x", "metadata": {"a": "\x1b[31m"}}, "metadata"),
    ({"question": "x", "metadata": {"a": math.nan}}, "metadata"),
    ({"question": "x", "config": {"a": DEEP}}, "config"),
    ({"question": "x", "metadata": {"a": "y" * 300_000}}, "query"),
]


@pytest.mark.parametrize(("fields", "name"), REFUSED)
async def test_a_producer_refuses_it_and_nothing_is_left(
    producer: AsyncProducer, house: House, fields: dict[str, Any], name: str
) -> None:
    before = set(house.client.scan_iter())

    with pytest.raises(InvalidQuery) as caught:
        await producer.submit(**fields)

    assert caught.value.field_name == name
    assert set(house.client.scan_iter()) <= before


@pytest.mark.parametrize("timeout", [math.inf, math.nan, 1e300, "soon"])
async def test_a_time_out_that_is_no_time_is_refused(producer: AsyncProducer, timeout: Any) -> None:
    with pytest.raises(InvalidQuery) as caught:
        await producer.submit("Why?", timeout=timeout)

    assert caught.value.field_name == "timeout"


async def test_a_plain_celery_client_hears_of_it_by_the_same_class(producer: AsyncProducer, house: House) -> None:
    app = Celery(broker=house.broker.url, backend=house.broker.url)

    for fields, name in REFUSED:
        sent = app.send_task("flywheel.classify", [fields], queue="classify")
        with pytest.raises(InvalidQuery) as caught:
            await asyncio.to_thread(sent.get, timeout=20)
        assert caught.value.field_name == name
        assert (await producer.status(sent.id)).state == State.FAILED


@pytest.mark.parametrize(
    ("arguments", "stdin", "name"),
    [
        ([b"submit", b"-"], b"a\x00b", "question"),
        ([b"submit", b"-"], b"caf\xe9", "question"),
        ([b"submit", b"caf\xe9"], b"", "question"),
        ([b"submit", b"a\x1b[31mb"], b"", "question"),
        ([b"ask", b"x", b"--session", "a\u202eb".encode()], b"", "session_id"),
    ],
)
def test_the_command_line_refuses_it_too(house: House, arguments: list[bytes], stdin: bytes, name: str) -> None:
    env = {
        **os.environ,
        "REDIS_URL": house.broker.url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(house.folder / "home"),
    }

    ended = subprocess.run(
        [COMMAND.encode(), *arguments, b"--json"], env=env, input=stdin, capture_output=True, check=False
    )

    error = json.loads(ended.stdout)
    assert (ended.returncode, error["error_type"], error["details"]["field_name"]) == (2, "InvalidQuery", name)
    assert "U+" in error["error"]


def test_a_byte_order_mark_and_line_ends_on_stdin_are_no_part_of_the_question(house: House) -> None:
    env = {
        **os.environ,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(house.folder / "home"),
    }

    ended = subprocess.run(
        [COMMAND, "route", "-", "--json"], env=env, input=b"\xef\xbb\xbfdocker\r\n\n", capture_output=True, check=True
    )

    shown = json.loads(ended.stdout)
    assert (shown["question"], "technical-analysis" in shown["scores"]) == ("docker", True)
