"""The engine starts only on libraries that it was checked with."""

from __future__ import annotations

import pytest

from agentic_flywheel.broker.versions import check_server
from agentic_flywheel.errors import BrokerTooOld, EngineUnsupported
from workers.engine.versions import check_versions

KNOWN = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1.3"}


def test_the_installed_libraries_are_known() -> None:
    check_versions()


def test_any_patch_of_a_known_redis_client_is_known() -> None:
    check_versions(KNOWN)


@pytest.mark.parametrize(
    ("library", "version", "command"),
    [
        ("celery", "5.7.1", "-m pip install 'celery==5.7.0'"),
        ("kombu", "5.6.2", "-m pip install 'kombu==5.7.0'"),
        ("redis", "8.10.0", "-m pip install 'redis==8.1.*'"),
    ],
)
def test_an_unknown_library_is_refused_with_the_command_that_helps(library: str, version: str, command: str) -> None:
    with pytest.raises(EngineUnsupported) as refused:
        check_versions({**KNOWN, library: version})

    told = refused.value.describe()
    assert f"{library} {version}" in told.error
    assert command in told.recovery_suggestions[0]
    assert len(told.recovery_suggestions) >= 3


def test_all_unknown_libraries_are_named_at_once() -> None:
    with pytest.raises(EngineUnsupported, match=r"celery==5\.7\.0, kombu==5\.7\.0") as refused:
        check_versions({**KNOWN, "celery": "6.0", "kombu": "6.0"})
    assert "'celery==5.7.0' 'kombu==5.7.0'" in refused.value.recovery_suggestions[0]


def test_an_old_redis_is_refused() -> None:
    check_server("7.2.4")
    with pytest.raises(BrokerTooOld, match=r"Redis 6\.2\.14") as refused:
        check_server("6.2.14")
    assert len(refused.value.recovery_suggestions) >= 3
