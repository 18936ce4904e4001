"""Settings: what an empty variable means, and how long a worker that stops may take."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import AliasChoices

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings, load_settings


def _variables(name: str) -> list[str]:
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [alias if isinstance(alias, str) else f"FLYWHEEL_{name.upper()}"]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_one_that_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _variables(name):
        monkeypatch.delenv(variable, raising=False)
    unset = getattr(load_settings(), name)
    for variable in _variables(name):
        monkeypatch.setenv(variable, "")

    assert getattr(load_settings(), name) == unset


def test_the_second_name_counts_where_the_first_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_REDIS_URL", "")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379/3")

    assert load_settings().redis_url == "redis://elsewhere:6379/3"


def test_figures_are_not_served_where_their_port_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_METRICS_PORT", "off")

    assert load_settings().metrics_port is None


@pytest.mark.parametrize(
    "name", ["RESULT_TTL", "SESSION_TTL", "DEAD_LETTER_TTL", "VISIBILITY_TIMEOUT"], ids=lambda name: str(name).lower()
)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0", "at least a second"),
        ("500ms", "at least a second"),
        ("-1", "a duration such as 90s"),
        ("soon", "a duration such as 90s"),
        ("P999999999D", "at most a hundred years"),
    ],
)
def test_a_time_within_which_a_query_would_be_gone_is_refused(
    name: str, given: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FLYWHEEL_{name}", given)

    with pytest.raises(InvalidSetting, match=f"FLYWHEEL_{name} is not acceptable: should be .*{told}"):
        load_settings()


@pytest.mark.parametrize(("grace", "finishing"), [("130", 125), ("8", 4), ("0", 0)])
def test_a_worker_hands_back_within_its_grace(grace: str, finishing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_GRACE", grace)

    assert load_settings().finishing == timedelta(seconds=finishing)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("amqp://me:s3cret@host/", "RabbitMQ is not served"),
        ("sqs://me:s3cret@", "Amazon SQS is not served"),
        ("sentinel://:s3cret@host:26379/0", "how the Sentinels call the primary"),
        ("sentinel://:s3cret@host:26379,,other/0?service=main", "names no host"),
        ("sentinel://:s3cret@host:99999/0?service=main", "from 0 to 65535"),
        ("sentinel://:s3cret@host/0?service=main&ssl_ca_certs=/ca.pem", "begins with sentinel://"),
        ("sentinel://:s3cret@host/0?service=main&db=1", "option 'db'"),
        ("rediss+sentinel://:s3cret@host/0", "Sentinel over TLS is not served"),
        ("redis+sentinel://:s3cret@host/0", "Sentinel is written sentinel://"),
        ("redis+socket://:s3cret@/run/valkey.sock", "a socket is written unix://"),
        ("unix://:s3cret@", "names no path"),
        ("unix://:s3cret@run/valkey.sock", "names no path"),
        ("unix://:s3cret@/run/valkey.sock?db=first", "number of a database"),
        ("unix://:s3cret@/run/valkey.sock?virtual_host=1", "option 'virtual_host'"),
        ("redis+cluster://:s3cret@host", "cluster mode is not served"),
        ("http://me:s3cret@host", "redis://, rediss://"),
        ("redis:/host", "redis://, rediss://"),
        ("redis://:s3cret@a:6379,b:6379/0", "several hosts"),
        ("redis://:s3cret@host:65536/0", "from 0 to 65535"),
        ("redis://:s3cret@host:port/0", "from 0 to 65535"),
        ("redis://[::1:6379/0", "cannot be read"),
        ("redis:///0", "names no host"),
        ("redis://:s3cret@:6379/0", "names no host"),
        ("redis://:s3/cret@host/0", "%2F"),
        ("redis://:s3?cret@host/0", "%3F"),
        ("redis://:s3#cret@host/0", "%23"),
        ("redis://:s3cret@host/zero", "number of a database"),
        ("redis://:s3cret@host/0#1", "behind one"),
        ("redis://:s3cret@host/0?ssl_cert_reqs=none", "begin with rediss://"),
        ("rediss://:s3cret@host/0?db=1", "option 'db'"),
    ],
)
def test_a_broker_that_is_not_served_is_refused_at_the_start(
    address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", address)

    with pytest.raises(InvalidSetting, match=reason) as refused:
        load_settings()

    assert "s3" not in refused.value.message.replace(reason, "")


@pytest.mark.parametrize(
    "address",
    [
        "redis://host",
        "redis://[::1]:6379/15",
        "redis://:p%2Fw%23@host:1/0",
        "redis://:a@b@host:1/0",
        "unix:///run/valkey.sock",
        "unix://me:p%2Fw@/run/the%20valkey.sock?db=3",
        "sentinel://me:p%2Fw@one:26379,two,[::1]:26380/2?service=main&sentinel_password=p%26w",
        "rediss://me:pw@host/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/a&ssl_keyfile=/b",
    ],
)
def test_a_broker_that_is_served_is_taken_as_it_stands(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", address)

    assert load_settings().redis_url == address
