"""The engine starts only on libraries it knows."""

from __future__ import annotations

import pytest

from agentic_flywheel.errors import EngineUnsupported
from workers.engine.versions import check_server, check_versions

KNOWN = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1.3"}


def test_the_installed_libraries_are_known() -> None:
    check_versions()


def test_any_patch_of_a_known_redis_client_is_known() -> None:
    check_versions(KNOWN)


@pytest.mark.parametrize(("library", "version"), [("celery", "5.7.1"), ("kombu", "5.6.2"), ("redis", "8.10.0")])
def test_an_unknown_library_is_refused_with_a_way_out(library: str, version: str) -> None:
    with pytest.raises(EngineUnsupported) as refused:
        check_versions({**KNOWN, library: version})

    assert f"{library} {version}" in str(refused.value)
    assert f"{library} {'8.1' if library == 'redis' else '5.7.0'}" in str(refused.value)
    assert any("FLYWHEEL_ENGINE=stock" in suggestion for suggestion in refused.value.describe().recovery_suggestions)


def test_an_old_redis_is_refused() -> None:
    check_server("7.2.4")
    with pytest.raises(EngineUnsupported, match=r"Redis 6\.2\.14"):
        check_server("6.2.14")
