"""A Langfuse server, settings that lead to it, and tracers that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer

from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer

MakeTracer = Callable[..., Tracer]


@pytest.fixture
def server() -> Iterator[LangfuseServer]:
    with LangfuseServer() as running:
        yield running


@pytest.fixture
def make_tracer(tmp_path: Path) -> Iterator[MakeTracer]:
    """Return a function that makes a tracer, to a server where one is given, else to files."""
    made: list[Tracer] = []

    def make(server: LangfuseServer | None = None, **settings: Any) -> Tracer:
        if server is not None:
            settings |= {
                "langfuse_base_url": server.url,
                "langfuse_public_key": PUBLIC_KEY,
                "langfuse_secret_key": SECRET_KEY,
            }
        made.append(Tracer.from_settings(Settings(home=tmp_path, **settings)))
        return made[-1]

    yield make
    for tracer in made:
        tracer.close(0.5)


@pytest.fixture(autouse=True)
def _no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGFUSE_BASE_URL", "LANGFUSE_HOST", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
