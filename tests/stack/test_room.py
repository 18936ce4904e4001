"""A home without room, and a broker that takes no new data: a stack says so before it starts anything."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest
from processes import Valkey

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.settings import Settings
from producer.cli.streams import could_not_write
from producer.stack import start_stack


async def start(settings: Settings) -> None:
    async with start_stack(settings, workers=0, flower=False, sandbox=False, on_line=lambda _: None):
        raise AssertionError("it has started")


async def test_a_home_without_room_is_named(valkey: Valkey, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))  # what a full disk does, without a disk
    try:
        with pytest.raises(OSError, match="a start needs 1 MiB") as refused:
            await start(Settings(redis_url=valkey.url, home=tmp_path / "home"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(tmp_path / "home"))
    assert could_not_write(refused.value)
    assert "Make room there" in capsys.readouterr().err


async def test_a_stack_is_not_started_at_a_broker_that_takes_no_new_data(valkey: Valkey, tmp_path: Path) -> None:
    with valkey.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(BrokerUnavailable, match="its memory is full"):
                await start(Settings(redis_url=valkey.url, home=tmp_path))
        finally:
            client.config_set("maxmemory", 0)
