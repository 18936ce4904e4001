"""Settings: what an empty variable means, and how long a worker that stops may take."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.odd_settings import _PAIRS, odd_settings
from agentic_flywheel.settings import Settings, flow_key, header_values, load_settings, variable_fault, variables_of

#: A value of each setting that is not a number.
GIVEN = {
    "redis_url": "redis://other:6379/0",
    "key_prefix": "blue:",
    "flowise_base_url": "https://flowise.example",
    "owner_bytes_under_way": str(2**30),
    "owner_weights": "alice=3",
    "owner_limits_local": "true",
    "uploads_url": "file:///srv/files",
    "langfuse_base_url": "https://langfuse.example",
    "langfuse_sample_rate": "0.5",
    "tracing_enabled": "false",
    "trace_queue_bytes": "4096",
    "metrics_port": "off",
    "log_bytes": "20000",
    "flower_basic_auth": "me:password",
    "mcp_result_limit": "3000",
    "http_stop": "true",
    "http_visitors": "true",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_one_that_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables_of(name):
        monkeypatch.delenv(variable, raising=False)
    unset = getattr(load_settings(), name)
    for variable in variables_of(name):
        monkeypatch.setenv(variable, "")

    assert getattr(load_settings(), name) == unset


@pytest.mark.parametrize("name", Settings.model_fields)
def test_white_space_around_a_value_is_none_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in Settings.model_fields:
        for variable in variables_of(each):
            monkeypatch.delenv(variable, raising=False)
    variable = variables_of(name)[-1]
    monkeypatch.setenv(variable, " \n")
    assert getattr(load_settings(), name) == Settings.model_fields[name].get_default()

    monkeypatch.setenv(variable, value := GIVEN.get(name, "7"))
    bare = getattr(load_settings(), name)
    monkeypatch.setenv(variable, f" {value}\r\n")

    assert getattr(load_settings(), name) == bare != Settings.model_fields[name].get_default()


def test_white_space_around_a_key_that_the_registry_names_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "key-of-the-shop\n")
    monkeypatch.setenv("NOTHING", "\n")

    key = flow_key("SHOP_KEY", None)
    assert key is not None
    assert key.get_secret_value() == "key-of-the-shop"
    assert header_values({"X-Key": "${SHOP_KEY}"}) == ({"X-Key": "key-of-the-shop"}, ("key-of-the-shop",))
    assert flow_key("NOTHING", None) is None
    assert variable_fault("NOTHING") == "is empty"


def test_the_second_name_counts_where_the_first_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_REDIS_URL", "")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379/3")

    assert load_settings().redis_url == "redis://elsewhere:6379/3"


def test_figures_are_not_served_where_their_port_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_METRICS_PORT", "off")

    assert load_settings().metrics_port is None


#: A value that is acceptable, and is not the default, of each setting that needs another one, or is needed.
VALUES = {
    "langfuse_public_key": "pk",
    "langfuse_secret_key": "sk",
    "langfuse_base_url": "http://elsewhere",
    "langfuse_traces_path": "otel",
    "http_visitor_queries": "3",
    "http_visitors": "1",
}


@pytest.mark.parametrize("pair", _PAIRS, ids=lambda pair: f"{pair.setting} without {pair.needed}")
def test_a_setting_without_the_one_that_it_needs_is_told(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, needed = variables_of(pair.setting)[-1], variables_of(pair.needed)[0]
    monkeypatch.setenv(given, VALUES[pair.setting])
    told = [(each.found, each.advice) for each in odd_settings(load_settings())]
    monkeypatch.setenv(needed, VALUES[pair.needed])
    # Whatever needs the other one again is told in its turn.
    after = [each.advice for each in odd_settings(load_settings())]

    assert told == [(f"{given} is set and {needed} is not: {pair.meanwhile}", f"set {needed}")]
    assert f"set {needed}" not in after
    if pair.switch:
        monkeypatch.delenv(needed)
        monkeypatch.setenv(variables_of(pair.switch)[0], "false")
        assert odd_settings(load_settings()) == []


def test_a_bound_of_one_flow_above_that_of_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CACHE_BYTES", "1000")
    monkeypatch.setenv("FLYWHEEL_CACHE_FLOW_BYTES", "2000")

    assert [each.found for each in odd_settings(load_settings())] == [
        "FLYWHEEL_CACHE_FLOW_BYTES is more than FLYWHEEL_CACHE_BYTES, the bound of all flows"
    ]


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
        (f"unix://:s3cret@/{'é' * 54}", "its path is longer than the 10[37] bytes"),
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
        ("rediss://:s3cret@host/0?ssl_cert_reqs=maybe", "one of required, optional, none"),
        ("rediss://:s3cret@host/0?ssl_ca_certs=/no/such.pem", "/no/such.pem: there is no such file"),
        (f"rediss://:s3cret@host/0?ssl_ca_certs={__file__}", "ssl_ca_certs names .*: it holds no certificate"),
        ("rediss://:s3cret@host/0?ssl_ca_certs=/", "ssl_ca_certs names /: it is no file"),
        ("rediss://:s3cret@host/0?ssl_ca_certs=/dev/null", "ssl_ca_certs names /dev/null: it is no file"),
        ("rediss://:s3cret@host/0?ssl_ca_data=none", "ssl_ca_data is text that holds no certificate"),
        (f"rediss://:s3cret@host/0?ssl_ca_certs=/{'a' * 300}", "File name too long"),
        (f"rediss://:s3cret@host/0?ssl_ca_path={__file__}", "ssl_ca_path names .*: it is no folder"),
        (f"rediss://:s3cret@host/0?ssl_keyfile={__file__}", "ssl_keyfile is there without ssl_certfile"),
        (f"rediss://:s3cret@host/0?ssl_certfile={__file__}", "ssl_certfile names .*: with itself as the key"),
        ("rediss://:s3cret@host/0?ssl_ca_certs=", "ssl_ca_certs has no value"),
        ("rediss://:s3cret@host/0?ssl_check_hostname=maybe", "ssl_check_hostname is one of true, false, yes, no, 1, 0"),
        ("redis://:s3[cret@host/0", "have to be written as %20, %5B"),
        ("redis://:s3\t cret@host/0", "have to be written as %20, %5B"),
        ("redis://:s3cret@host..here/0", "its host is no name that a host can have"),
        ("redis://:s3cret@ho st/0", "its host is no name that a host can have"),
        (f"redis://:s3cret@{'h' * 64}/0", "its host is no name that a host can have"),
        (f"sentinel://:s3cret@one,{'h' * 64}/0?service=main", "its host is no name that a host can have"),
    ],
)
def test_a_broker_that_is_not_served_is_refused_at_the_start(
    address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", address)

    with pytest.raises(InvalidSetting, match=reason) as refused:
        load_settings()

    assert "s3" not in refused.value.message


def test_who_gives_settings_in_a_program_is_told_no_part_of_a_password() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url="redis://:s3/cret@host:6379")

    assert "s3" not in str(refused.value)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "redis://host",
        "redis://[::1]:6379/15",
        "redis://:p%2Fw%23@host:1/0",
        "redis://:a@b@host:1/0",
        "unix:///run/valkey.sock",
        f"unix:///{'p' * 102}",
        "unix://me:p%2Fw@/run/the%20valkey.sock?db=3",
        "sentinel://me:p%2Fw@one:26379,two,[::1]:26380/2?service=main&sentinel_password=p%26w",
        "rediss://me:pw@host/0?ssl_ca_path=/&ssl_check_hostname=False&ssl_cert_reqs=none",
    ],
)
def test_a_broker_that_is_served_is_taken_as_it_stands(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", address)

    assert load_settings().redis_url == address


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
def test_a_key_is_refused_that_is_anothers_or_needs_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, options in {"plain": ["-nodes"], "closed": ["-passout", "pass:s3cret"]}.items():
        new = ["req", "-x509", "-newkey", "rsa:2048", *options, "-subj", "/CN=me", "-days", "2"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(["openssl", *new, *files], cwd=tmp_path, check=True, capture_output=True)
    start = f"rediss://host/0?ssl_certfile={tmp_path}"
    for served in (f"{start}/plain.pem&ssl_keyfile={tmp_path}/plain.key", f"{start}/closed.pem&ssl_password=s3cret"):
        key = "" if "ssl_keyfile" in served else f"&ssl_keyfile={tmp_path}/closed.key"
        monkeypatch.setenv("REDIS_URL", served + key)
        assert load_settings().redis_url == served + key
    for key in ("plain.key", "closed.key", "closed.key&ssl_password=other"):
        monkeypatch.setenv("REDIS_URL", f"{start}/closed.pem&ssl_keyfile={tmp_path}/{key}")
        with pytest.raises(InvalidSetting, match="it is no certificate with its key") as refused:
            load_settings()
        assert "other" not in refused.value.message
