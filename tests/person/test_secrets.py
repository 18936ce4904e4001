"""Passwords and keys are in nothing that is shown, stored or logged, and what people asked is their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from bridge_house import BridgeHouse
from processes import wait_for
from pydantic import SecretStr

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import BrokerUnavailable, InvalidSetting, rebuild
from agentic_flywheel.secret_values import secret_texts, without_secret_values
from agentic_flywheel.settings import Settings, key_of, load_settings
from agentic_flywheel.stack import StackInfo
from person.secret_house import SECRET, with_login
from producer.cli.up import shown_stack
from producer.replay import Replay
from producer.replay.report import write_report


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:pw@h:6379/0", "redis://h:6379/0"),
        ("rediss://user:p%40w@[::1]:6379/0?password=pw", "rediss://[::1]:6379/0"),
        ("cannot reach https://u:pw@h/api?key=pw#pw, and http://pw@h.", "cannot reach https://h/api and http://h."),
        ("unix:///run/redis.sock?password=pw", "unix:///run/redis.sock"),
        ("mail me at a@b.example", "mail me at a@b.example"),
        ("http://[bad:pw@", "http://"),
    ],
)
def test_an_address_is_shown_without_what_is_secret_in_it(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_an_error_repeats_no_secret_of_another_programs_words() -> None:
    error = BrokerUnavailable(with_login("redis://h:1/0"), f"said no to redis://x:{SECRET}@h:1/0")

    for told in (str(error), repr(error), error.describe().model_dump_json(), str(rebuild(error.describe()))):
        assert SECRET not in told


def test_an_api_key_beside_a_login_in_the_address_is_refused_with_the_names_of_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWISE_BASE_URL", with_login("http://flowise.example"))
    monkeypatch.setenv("FLOWISE_API_KEY", f"key-{SECRET}")

    with pytest.raises(InvalidSetting, match=r"FLOWISE_API_KEY.*FLOWISE_BASE_URL.*unset the key") as refused:
        load_settings()

    assert SECRET not in str(refused.value)


def test_a_login_in_a_flows_own_server_stands_for_the_key_of_the_settings() -> None:
    settings = Settings(flowise_api_key=SecretStr("key"))
    flow = Flow(key="f", id="f", domain="d")

    assert key_of(flow, settings) == SecretStr("key")
    assert key_of(flow.model_copy(update={"server": with_login("http://other.example")}), settings) is None


def test_what_up_prints_as_json_has_no_password_but_those_that_it_made() -> None:
    info = StackInfo(redis_url=with_login("redis://h:1/0"), flowise_url=with_login("http://h:2"))

    assert SECRET not in repr(shown_stack(info))
    assert SECRET in shown_stack(info.model_copy(update={"broker_started": True}))["redis_url"]


def test_a_configuration_is_shown_without_its_secrets() -> None:
    config = {"maxOutputTokens": 5, "apiKey": {"a": [SECRET]}, "vars": {"dbPassword": SECRET, "mood": "calm"}, "n": []}

    shown = without_secret_values(config)

    assert shown["vars"] == {"dbPassword": "(hidden)", "mood": "calm"}
    assert (shown["maxOutputTokens"], shown["apiKey"], shown["n"]) == (5, {"a": ["(hidden)"]}, [])


PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"
JWT = f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.x"


@pytest.mark.parametrize(
    "name",
    [
        "pwd",
        "dbPwd",
        "X-Auth",
        "authorization",
        "auth_header",
        "oauth",
        "Cookie",
        "session",
        "sessionId",
        "signature",
        "X-Sig",
        "privatePem",
        "passphrase",
        "DB_PASS",
        "pass",
        "bearer",
        "jwt",
        "accessToken",
        "credentials",
        "userPIN",
    ],
)
def test_a_value_whose_name_says_that_it_is_secret_is_hidden(name: str) -> None:
    for value in (SECRET, [SECRET], {"of": {"any": SECRET}}):
        shown = without_secret_values({"headers": {name: value}})
        assert SECRET not in repr(shown), shown
        assert secret_texts({name: value}) == [SECRET]


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {SECRET}",
        f"bearer  {SECRET}",
        f"Basic {SECRET}=",
        f"Token {SECRET}1",
        PEM,
        JWT,
        f"sk-{SECRET}",
        f"sk_live_{SECRET[:7]}1",
        f"curl -H 'Authorization: Bearer {SECRET}1' there",
        f"the key is sk-proj-{SECRET}.",
        f"with {PEM} in it",
    ],
)
def test_a_value_whose_form_says_that_it_is_secret_is_hidden(value: str) -> None:
    for config in ({"header": value}, {"a": [value]}, {"a": {"b": value}}):
        assert SECRET[:7] not in repr(without_secret_values(config))
        for each in secret_texts(config):
            value = value.replace(each, "")
        assert SECRET not in value


@pytest.mark.parametrize(
    "config",
    [
        {"author": "Ann Example", "authors": ["Ann"], "passage": "a text", "compass": "north", "spinning": "on"},
        {
            "prompt": "Basic questions first.",
            "style": "bearer of good news",
            "model": "gpt-4o",
            "task-name": "risk-free",
        },
        {"maxTokens": 5, "temperature": 0.5, "signal": "green", "pattern": "x"},
    ],
)
def test_what_is_no_secret_is_shown(config: dict[str, Any]) -> None:
    assert without_secret_values(config) == config
    assert secret_texts(config) == []


async def test_what_people_asked_is_in_files_of_their_owner_alone(house: BridgeHouse, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "old").mkdir(parents=True)
    async for _ in Replay(["Write a poem"], out=out, settings=house.settings):
        pass
    await write_report(out)
    wait_for(lambda: (house.folder / "home" / "traces").exists(), what="a trace in a file")

    assert (out / "report.html").exists()
    assert (out / "results.jsonl").exists()
    open_to_others = [str(each) for each in readable_by_others(out)]
    assert [each for each in open_to_others if not each.endswith("/old")] == []
    assert list(readable_by_others(house.folder / "home")) == []


def readable_by_others(folder: Path) -> list[Path]:
    """Return the files below a folder that others could read, were the folders above it open."""
    found = []
    for each in folder.iterdir():
        if not stat.S_IMODE(each.lstat().st_mode) & 0o077:
            continue  # nobody else gets behind it
        found += readable_by_others(each) if each.is_dir() else [each]
    return found
