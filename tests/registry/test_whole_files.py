"""A file that is replaced: whole or not at all, with the rights that were asked for, through a link."""

from __future__ import annotations

import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentic_flywheel.private_files import write_private
from agentic_flywheel.whole_files import mode_of, replacing


def test_a_file_is_replaced_behind_its_link_with_its_rights(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)

    with replacing(link, mode_of(link, otherwise=0o600)) as new:
        new.write(b"new")

    assert link.is_symlink()
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o640)
    assert mode_of(tmp_path / "none", otherwise=0o600) == 0o600


def test_a_failure_while_writing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def write_half() -> None:
        with replacing(file, 0o600) as new:
            new.write(b"half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write_half()

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def replace(path: Path, text: str) -> None:
    with replacing(path, 0o600) as new:
        new.write(text.encode())


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize("write", [replace, write_private])
def test_a_file_for_which_there_is_no_room_is_named(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    with pytest.raises(OSError, match="File too large") as refused:
        write(tmp_path / "file", "new")

    assert refused.value.filename == str(tmp_path / "file")
