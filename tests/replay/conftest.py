"""One house for the replay tests of a session: broker, sandbox, worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline.house import REGISTRY, House, at_work
from replay.asked import Command

from agentic_flywheel.settings import Settings


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with at_work(House(tmp_path_factory.mktemp("house"), aof=True)) as house:
        yield house


@pytest.fixture
def house(standing_house: House) -> House:
    standing_house.reset()
    return standing_house


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings of a broker that is not there, and a registry of telling flows."""
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(REGISTRY)
    return Settings(redis_url="redis://127.0.0.1:1/0", registry=registry, home=tmp_path / "home")


@pytest.fixture
def command(house: House, tmp_path: Path) -> Iterator[Command]:
    started = Command(house, tmp_path)
    yield started
    started.stop()
