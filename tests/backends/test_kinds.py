"""Every kind of backend that a registry can name is there, tested and documented."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from agentic_flywheel.backends.opened import open_backend
from agentic_flywheel.backends.protocol import Abilities
from agentic_flywheel.catalog import KEYS_OF_BACKENDS, Flow
from agentic_flywheel.servers import BackendName, FlowServer

KINDS: tuple[BackendName, ...] = get_args(BackendName)
FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "backends.md").read_text()
ADDRESS = "http://127.0.0.1:9"


@pytest.mark.parametrize("kind", KINDS)
async def test_it_can_be_opened(kind: BackendName) -> None:
    backend = open_backend(FlowServer(address=ADDRESS, backend=kind))
    await backend.close()

    assert type(backend).__module__.startswith(f"agentic_flywheel.backends.{kind}")


def test_it_says_which_keys_of_a_flow_are_its_own() -> None:
    assert KEYS_OF_BACKENDS.keys() == set(KINDS)


def test_its_promises_are_tested() -> None:
    tested = set()
    for path in FOLDER.rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.ClassDef) and "Promises" in map(ast.unparse, node.bases) for node in tree.body):
            tested |= set(re.findall(r"from agentic_flywheel\.backends\.(\w+) import \w+Backend", path.read_text()))

    assert set(KINDS) <= tested


async def test_the_page_says_what_it_can() -> None:
    table = PAGE.partition("## What a backend can\n")[2].partition("\n## ")[0]
    head, _, *rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"
    ]
    said = {row[0]: dict(zip(head[2:], row[2:], strict=True)) for row in rows}

    assert set(head[2:]) == set(KINDS)
    assert said.keys() == {field.name for field in fields(Abilities)}
    for kind in KINDS:
        if kind == "http":
            continue  # what it can is said in the registry
        backend = open_backend(FlowServer(address=ADDRESS, backend=kind))
        able = backend.abilities(Flow(key="f", id="f", domain="d", server=ADDRESS, backend=kind))
        await backend.close()
        assert {name: each[kind].startswith("yes") for name, each in said.items()} == vars(able)
