"""A backup that was taken under load goes on on a fresh broker, with the workers that are there."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from closing import BROKER_AWAY
from pipeline.house import TECHNICAL, House
from processes import Valkey, wait_for
from rolled_back import AOF_FOLDER, SNAPSHOT, kept_in

from losses.asking import all_end_once, asked_without_pause


def a_snapshot(broker: Valkey, backup: Path) -> None:
    with broker.client() as client:
        before = client.lastsave()
        client.bgsave()
        wait_for(lambda: client.lastsave() > before, what="the snapshot is written")
    shutil.copy(broker.folder / SNAPSHOT, backup)


def the_append_only_file(broker: Valkey, backup: Path) -> None:
    with broker.client() as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="no rewrite is under way")
        shutil.copytree(broker.folder / AOF_FOLDER, backup / AOF_FOLDER)
        client.config_set("auto-aof-rewrite-percentage", 100)


def restored(backup: Path, port: int) -> Valkey:
    """Start a server on a backup. From a snapshot it starts without an append-only file, and begins one."""
    aof = (backup / AOF_FOLDER).is_dir()
    broker = Valkey(backup, aof=aof, port=port).start()
    if not aof:
        with broker.client() as client:
            client.config_set("appendonly", "yes")
            wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="the file is begun")
    return broker


@pytest.mark.timeout(300)
@pytest.mark.provokes(BROKER_AWAY)
@pytest.mark.parametrize("back_up", [a_snapshot, the_append_only_file])
async def test_what_a_backup_holds_ends_once_on_a_fresh_broker(
    house: House, patience: float, tmp_path: Path, back_up: Callable[[Valkey, Path], None]
) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    house.behave(latency=0.2)
    house.behave(TECHNICAL, latency=1)
    async with asked_without_pause(house, random.Random(1)):
        await asyncio.sleep(3)
        await asyncio.to_thread(back_up, house.broker, backup)
        await asyncio.sleep(2)  # what is accepted and answered now is not in the backup
        house.broker.kill()
        kept = await asyncio.to_thread(kept_in, backup)
        house.broker = await asyncio.to_thread(restored, backup, house.broker.port)
        await asyncio.sleep(2)

    await all_end_once(house, kept, patience)
    assert house.client.config_get("appendonly") == {"appendonly": "yes"}
