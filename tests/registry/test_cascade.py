"""The nearest registry is in force."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import bundled_registry, find_registry, read_registry

from .conftest import GOOD


def put(folder: Path) -> Path:
    path = folder / ".agentic_flywheel" / "flow-registry.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD)
    return path


def test_a_named_file_wins_over_the_working_folder_that_over_home_and_that_over_the_bundled_one(tmp_path: Path) -> None:
    cwd, home = tmp_path / "work", tmp_path / "home"
    assert find_registry(None, cwd=cwd, home=home) == bundled_registry()

    at_home = put(home)
    assert find_registry(None, cwd=cwd, home=home) == at_home

    here = put(cwd)
    assert find_registry(None, cwd=cwd, home=home) == here

    named = put(tmp_path / "else")
    assert find_registry(named, cwd=cwd, home=home) == named


def test_a_named_file_that_is_not_there_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path)

    with pytest.raises(InvalidRegistry, match=r"none\.yaml does not exist"):
        find_registry(tmp_path / "none.yaml", cwd=tmp_path, home=tmp_path)


def test_what_cannot_be_looked_at_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".agentic_flywheel").symlink_to(tmp_path / ".agentic_flywheel")

    with pytest.raises(InvalidRegistry, match="cannot be read: Too many levels") as refused:
        find_registry(None, cwd=tmp_path, home=put(tmp_path / "home"))

    assert "ls -ld" in refused.value.advice[0]


def test_what_is_there_and_is_no_file_is_named_and_not_passed_over(tmp_path: Path) -> None:
    path = put(tmp_path)
    make: Callable[[], None]
    for make, reason, remedy in (
        (lambda: path.symlink_to(tmp_path / "gone"), "No such file", "Correct the link"),
        (lambda: os.mkfifo(path), "it is not a regular file", "Put a file there"),
    ):
        path.unlink()
        make()
        found = find_registry(None, cwd=tmp_path, home=put(tmp_path / reason))
        with pytest.raises(InvalidRegistry, match=f"cannot be read: {reason}") as refused:
            read_registry(found).catalog_or_raise()

        assert refused.value.advice[0].startswith(remedy)


def test_the_home_folder_of_another_user_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "theirs")
    monkeypatch.setenv("HOME", str(tmp_path / "theirs"))
    monkeypatch.setattr("os.access", lambda *_: False)

    assert find_registry(None, cwd=tmp_path) == bundled_registry()


def test_the_bundled_registry_is_faultless_and_has_what_the_demo_needs() -> None:
    reading = read_registry(bundled_registry())

    assert (reading.faults, reading.warnings) == ((), ())
    catalog = reading.catalog
    assert catalog is not None
    assert {flow.key: (flow.id, flow.domain, flow.ttl) for flow in catalog.active.values()} == {
        "creative-orientation": ("7d405a51-968d-4467-9ae6-d49bf182cdf9", "creative", timedelta(days=30)),
        "technical-analysis": ("896f7eed-342e-4596-9429-6fb9b5fbd91b", "technical", timedelta(days=7)),
        "document-qa": ("2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11", "documents", timedelta(days=1)),
    }
    assert catalog.default.key == "creative-orientation"


def test_the_bundled_registry_teaches_the_classifier_well() -> None:
    catalog = read_registry(bundled_registry()).catalog
    assert catalog is not None

    every = [question for flow in catalog.flows.values() for topic in flow.topics.values() for question in topic]
    assert len(every) == len({question.lower() for question in every}), "an example stands twice"
    for flow in catalog.flows.values():
        assert 4 <= len(flow.topics) <= 8
        assert all(len(questions) >= 8 for questions in flow.topics.values())
        assert len(flow.keywords) >= 12
