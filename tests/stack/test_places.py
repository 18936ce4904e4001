"""Paths of settings, and users without a home folder: what is not there is named, and nothing waits for ever."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.places import nearest
from agentic_flywheel.profiles import ProfileWatch
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.registry.cascade import bundled_registry
from agentic_flywheel.settings import load_settings
from mcp_bridge.clients import CLIENTS
from mcp_bridge.files import shared_folder

FILES = ("FLYWHEEL_REGISTRY", "FLYWHEEL_TOKENS_FILE", "FLYWHEEL_MCP_TOKENS_FILE")
FOLDERS = ("FLYWHEEL_HOME", "FLYWHEEL_PROFILES")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user such as containers and units make up: neither HOME, nor an entry among the users."""

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_has_what_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_registry(None) == bundled_registry()
    assert ProfileWatch(None).folders == ()
    own = tmp_path / ".agentic_flywheel" / "domains"
    own.mkdir(parents=True)
    assert ProfileWatch(None).folders == (own,)


def test_in_a_folder_that_was_deleted_the_home_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert nearest(Path("x"), home=tmp_path) == [tmp_path / "x"]
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("homeless")
def test_what_needs_a_home_says_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = next(each for each in CLIENTS.values() if each.at_home)
    with pytest.raises(InvalidSetting, match="no home folder"):
        client.file("user", tmp_path)
    with pytest.raises(InvalidSetting, match="no such home folder"):
        shared_folder("~/files")
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(
        bundled_registry().read_text() + "\nservers:\n  own: {address: 'https://a.example', ca_file: '~/ca.pem'}\n"
    )
    with pytest.raises(Exception, match=r"servers\.own\.ca_file: ~/ca\.pem begins with ~"):
        load_catalog(registry)
    for variable in (*FILES, *FOLDERS, "FLYWHEEL_LOG_FILE"):
        with monkeypatch.context() as given:
            given.setenv(variable, "~/x")
            with pytest.raises(InvalidSetting, match=f"{variable}.*no such home folder"):
                load_settings()


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit's file of settings is read by no shell, which would write it out."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (*FILES, *FOLDERS, "FLYWHEEL_LOG_FILE"):
        monkeypatch.setenv(variable, "~/x")

    settings = load_settings()
    named = {settings.registry, settings.tokens_file, settings.mcp_tokens_file, settings.log_file, settings.home}
    assert named | {settings.profiles} == {tmp_path / "x"}


@pytest.mark.parametrize("variable", FILES)
def test_what_is_no_file_is_refused_by_name(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe above all: whoever opened it waited for ever, without a word."""
    os.mkfifo(pipe := tmp_path / "pipe")
    for place in (pipe, tmp_path):
        monkeypatch.setenv(variable, str(place))
        with pytest.raises(InvalidSetting, match=f"{variable}.*{place} is no regular file"):
            load_settings()


@pytest.mark.parametrize("variable", FOLDERS)
def test_what_is_no_folder_is_refused_by_name(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(variable, str(file))

    with pytest.raises(InvalidSetting, match=f"{variable}.*{file} is no folder"):
        load_settings()


def test_a_log_into_a_pipe_that_nobody_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    monkeypatch.setenv("FLYWHEEL_LOG_FILE", str(pipe))

    with pytest.raises(InvalidSetting, match=f"{pipe} cannot be written"):
        keep_log(load_settings())
