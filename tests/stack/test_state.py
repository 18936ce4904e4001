from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentic_flywheel.errors import StackRunning
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo, running_stack, stack_settings, state_file
from producer.stack.claim import claim

INFO = StackInfo(
    redis_url="redis://:broker-secret@127.0.0.1:7001/0",
    flowise_url="http://127.0.0.1:7002",
    flower_url="http://127.0.0.1:5555",
    flower_user="flywheel",
    flower_password="flower-secret",
    pids={"broker": 1},
)


def test_a_running_stack_is_found_by_its_home(tmp_path: Path) -> None:
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)

        assert running_stack(tmp_path) == INFO


def test_a_stack_that_is_still_starting_is_not_found(tmp_path: Path) -> None:
    with claim(tmp_path):
        assert running_stack(tmp_path) is None


def test_the_file_of_a_dead_stack_is_not_believed(tmp_path: Path) -> None:
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)

    assert state_file(tmp_path).exists()
    assert running_stack(tmp_path) is None


def test_a_second_stack_of_one_home_is_refused_and_told_where_the_first_is(tmp_path: Path) -> None:
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)
        with pytest.raises(StackRunning, match=r"redis://127\.0\.0\.1:7001/0") as refused, claim(tmp_path):
            pass

    assert "broker-secret" not in str(refused.value.describe())


def test_only_the_owner_can_read_the_state_file(tmp_path: Path) -> None:
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)
        claimed.publish(INFO)

        assert stat.S_IMODE(state_file(tmp_path).stat().st_mode) == 0o600


def test_passwords_stay_out_of_what_is_logged() -> None:
    assert "secret" not in repr(INFO)
    assert "secret" not in str(INFO)


def test_settings_that_name_no_broker_take_the_running_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "FLYWHEEL_REDIS_URL", "FLOWISE_BASE_URL", "FLYWHEEL_FLOWISE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)
        joined = stack_settings(Settings(home=tmp_path, flowise_api_key=SecretStr("k")))

    assert joined.redis_url == INFO.redis_url
    assert joined.flowise_base_url == INFO.flowise_url


def test_settings_that_name_a_broker_keep_it(tmp_path: Path) -> None:
    own = Settings(home=tmp_path, redis_url="redis://example.test:6379/0", flowise_base_url="http://flowise.test")
    with claim(tmp_path) as claimed:
        claimed.publish(INFO)

        assert stack_settings(own) == own


def test_the_prefix_of_its_keys_comes_with_the_stacks_broker_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REDIS_URL", "FLYWHEEL_REDIS_URL", "FLYWHEEL_KEY_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    with claim(tmp_path) as claimed:
        claimed.publish(INFO.model_copy(update={"key_prefix": "blue:"}))
        joined = stack_settings(Settings(home=tmp_path))
        elsewhere = stack_settings(Settings(home=tmp_path, redis_url="redis://another:6379/0"))
        own = stack_settings(Settings(home=tmp_path, key_prefix="green:"))

    assert (joined.redis_url, joined.key_prefix) == (INFO.redis_url, "blue:")
    assert elsewhere.key_prefix == ""
    assert (own.redis_url, own.key_prefix) == (INFO.redis_url, "green:")
