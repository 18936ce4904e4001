"""A changed registry is in force by itself, and a faulty one never is."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import CatalogWatch, add_flow, update_flow

from .conftest import GOOD

QUICK = 0.01  # seconds between two looks


def watch(path: Path | None, folder: Path) -> CatalogWatch:
    return CatalogWatch(path, cwd=folder, home=folder / "home", interval=QUICK)


def soon(condition: Callable[[], bool]) -> bool:
    """Return whether the condition comes true within some seconds."""
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(QUICK)
    return True


def looked(watching: CatalogWatch) -> None:
    """Return after the watch has looked at the file at least once more."""
    time.sleep(2 * QUICK)
    watching.current()


def test_a_change_is_in_force_and_told_once(registry: Path, tmp_path: Path) -> None:
    watching, told = watch(registry, tmp_path), list[Catalog]()
    watching.on_change(told.append)
    assert set(watching.current().flows) == {"poet", "coder"}

    add_flow(registry, {"key": "lawyer", "id": "law-1"}, cwd=tmp_path)

    assert soon(lambda: "lawyer" in watching.current().flows)
    looked(watching)
    assert told == [watching.current()]


def test_a_second_watch_of_what_is_in_force_does_not_read_it_again(registry: Path, tmp_path: Path) -> None:
    first, second = watch(registry, tmp_path), watch(registry, tmp_path)
    assert second.current() is first.current()

    registry.write_text(GOOD.replace("coder-1", "coder-2"))

    assert watch(registry, tmp_path).current().flows["coder"].id == "coder-2"
    assert soon(lambda: first.current().flows["coder"].id == "coder-2")


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(registry: Path, tmp_path: Path) -> None:
    watching, stamp = watch(registry, tmp_path), registry.stat()

    registry.write_text(GOOD.replace("coder-1", "coder-2"))  # the same inode and size
    os.utime(registry, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert soon(lambda: watching.current().flows["coder"].id == "coder-2")


def test_a_file_that_kubernetes_changes_is_seen(tmp_path: Path) -> None:
    """A ConfigMap's file is a link through a link to a folder; a change puts another folder into its place."""

    def put(version: str, text: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "flow-registry.yaml").write_text(text)
        (tmp_path / "..next").symlink_to(version)
        (tmp_path / "..next").replace(tmp_path / "..data")

    put("..1", GOOD)
    registry = tmp_path / "flow-registry.yaml"
    registry.symlink_to("..data/flow-registry.yaml")
    watching = watch(registry, tmp_path)

    put("..2", GOOD.replace("coder-1", "coder-2"))

    assert soon(lambda: watching.current().flows["coder"].id == "coder-2")


def test_an_old_file_is_not_read_again_until_it_changes(registry: Path, tmp_path: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(registry, (an_hour_ago, an_hour_ago))
    watching = watch(registry, tmp_path)
    looked(watching)

    # Only a file that is read shows this change, which keeps inode, size and time.
    registry.write_text(GOOD.replace("coder-1", "coder-2"))
    os.utime(registry, (an_hour_ago, an_hour_ago))
    looked(watching)
    assert watching.current().flows["coder"].id == "coder-1"

    os.utime(registry)
    assert soon(lambda: watching.current().flows["coder"].id == "coder-2")


def test_a_faulty_change_is_logged_once_and_the_running_catalog_stays(
    registry: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watching, told = watch(registry, tmp_path), list[Catalog]()
    watching.on_change(told.append)
    running = watching.current()

    with caplog.at_level(logging.ERROR):
        registry.write_text(GOOD.replace("id: coder-1", "id: coder 1"))
        assert soon(lambda: watching.current() is running and watching.fault is not None)
        for _ in range(5):
            looked(watching)

    assert watching.current() is running
    assert told == []
    assert watching.fault is not None
    assert (watching.fault.line, watching.fault.key) == (7, "operational_flows.coder.id")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"{registry}:7: operational_flows.coder.id" in caplog.text


def test_a_mended_file_is_in_force_again(registry: Path, tmp_path: Path) -> None:
    watching = watch(registry, tmp_path)
    registry.write_text("broken: [")
    assert soon(lambda: bool(watching.current()) and watching.fault is not None)

    registry.write_text(GOOD.replace("coder-1", "coder-9"))

    assert soon(lambda: watching.current().flows["coder"].id == "coder-9")
    assert watching.fault is None


def test_a_file_that_is_removed_and_put_back_leaves_no_fault(
    registry: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watching = watch(registry, tmp_path)
    running = watching.current()

    with caplog.at_level(logging.ERROR):
        registry.rename(tmp_path / "away")
        assert soon(lambda: watching.current() is running and watching.fault is not None)
        for _ in range(5):
            looked(watching)
    assert len(caplog.records) == 1

    (tmp_path / "away").rename(registry)
    assert soon(lambda: bool(watching.current()) and watching.fault is None)
    assert watching.current().revision == running.revision


def test_a_comment_changes_nothing_that_anybody_needs_to_be_told(registry: Path, tmp_path: Path) -> None:
    watching, told = watch(registry, tmp_path), list[Catalog]()
    watching.on_change(told.append)
    before = watching.current()

    registry.write_text("# A word about these flows.\n" + GOOD)

    assert soon(lambda: watching.current() is not before)
    assert watching.current().revision == before.revision
    assert told == []


def test_a_flow_added_to_the_bundled_registry_is_in_force_although_it_goes_to_another_file(tmp_path: Path) -> None:
    watching = watch(None, tmp_path)
    bundled = Path(watching.current().source)

    written = add_flow(bundled, {"key": "lawyer", "id": "law-1"}, cwd=tmp_path)

    assert soon(lambda: "lawyer" in watching.current().flows)
    assert watching.current().source == str(written) != str(bundled)


def test_a_listener_that_fails_keeps_nobody_from_the_new_catalog(
    registry: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watching, told = watch(registry, tmp_path), list[Catalog]()

    @watching.on_change
    def fail(catalog: Catalog) -> None:
        raise RuntimeError("no")

    watching.on_change(told.append)
    update_flow(registry, "coder", {"ttl": "3d"}, cwd=tmp_path)

    assert soon(lambda: watching.current().flows["coder"].ttl.days == 3)
    assert told == [watching.current()]
    assert "a listener to the catalog failed" in caplog.text


def test_a_watch_does_not_begin_with_a_faulty_registry(tmp_path: Path) -> None:
    (tmp_path / "flows.yaml").write_text("broken: [")

    with pytest.raises(InvalidRegistry, match="is not YAML"):
        watch(tmp_path / "flows.yaml", tmp_path)
    with pytest.raises(InvalidRegistry, match="does not exist"):
        watch(tmp_path / "none.yaml", tmp_path)


def test_what_is_worth_a_remark_is_known(registry: Path, tmp_path: Path) -> None:
    registry.write_text(GOOD.replace("intent_keywords: [code]", "intent_keyword: [code]"))

    assert [remark.key for remark in watch(registry, tmp_path).warnings] == [
        "operational_flows.coder",
        "operational_flows.coder.intent_keyword",
    ]
