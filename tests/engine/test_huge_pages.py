"""A worker's memory in huge pages: only its own, only whole blocks, and only where an administrator lets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.engine import huge_pages
from workers.engine.huge_pages import HUGE, blocks_in, gather

MAPS = """\
00400000-00a00000 r-xp 00000000 fe:00 1 /usr/bin/python3.11
00a00000-00e00000 rw-p 00000000 fe:00 1 /usr/bin/python3.11
01f00000-02500000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0000700000-7f0000d00000 r--p 00000000 00:00 0
7f0000d00000-7f0000e00000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:01 7 /dev/zero (deleted)
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_whole_blocks_of_the_processs_own_memory_are_gathered() -> None:
    assert list(blocks_in(MAPS)) == [0x2000000, 0x2200000, 0x7F0000200000, 0x7F0000400000]


def test_a_block_that_is_no_longer_mapped_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, enabled = tmp_path / "maps", tmp_path / "enabled"
    maps.write_text(f"{HUGE:x}-{3 * HUGE:x} rw-p 00000000 00:00 0 \n")
    enabled.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_MAPS", maps)
    monkeypatch.setattr(huge_pages, "_ENABLED", enabled)

    assert gather() == 0


@pytest.mark.parametrize("said", ["always madvise [never]\n", None])
def test_where_huge_pages_are_switched_off_or_unknown_nothing_is_asked(
    said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        (tmp_path / "enabled").write_text(said)
    monkeypatch.setattr(huge_pages, "_ENABLED", tmp_path / "enabled")
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("the kernel was asked"))

    assert gather() == 0


def test_gathering_leaves_what_is_in_memory_as_it_was() -> None:
    before = [str(number) for number in range(300_000)]

    assert gather() >= 0
    assert before == [str(number) for number in range(300_000)]
