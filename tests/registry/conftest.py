"""A small registry that each test changes to its need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

GOOD = """\
operational_flows:
  poet:
    id: poet-1
    domain: creative
    intent_keywords: [poem]
  coder:
    id: coder-1
    domain: technical
    intent_keywords: [code]
intent_classification:
  fallback_flow: poet
"""

Write = Callable[[str], Path]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry without fault."""
    path = tmp_path / "flow-registry.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a registry and return its path."""

    def written(text: str) -> Path:
        path = tmp_path / "flow-registry.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return written
