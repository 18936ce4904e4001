"""Every kind of backend that a registry can name is there, tested and documented."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from agentic_flywheel.backends.opened import open_backend
from agentic_flywheel.backends.protocol import Abilities, FlowBackend
from agentic_flywheel.catalog import KEYS_OF_BACKENDS, Flow
from agentic_flywheel.servers import BackendName, FlowServer
from backends.beside import ASKED

KINDS: tuple[BackendName, ...] = get_args(BackendName)
FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "backends.md").read_text()
ADDRESS = "http://127.0.0.1:9"
PACKAGES = [
    FOLDER.parents[1] / each for each in ("agentic_flywheel", "producer", "workers", "http_gateway", "mcp_bridge")
]


@pytest.mark.parametrize("kind", KINDS)
async def test_it_can_be_opened(kind: BackendName) -> None:
    backend = open_backend(FlowServer(address=ADDRESS, backend=kind))
    await backend.close()

    assert type(backend).__module__.startswith(f"agentic_flywheel.backends.{kind}")


def test_it_says_which_keys_of_a_flow_are_its_own() -> None:
    assert KEYS_OF_BACKENDS.keys() == set(KINDS)


def test_a_table_that_has_not_each_of_them_is_asked_with_care() -> None:
    """A backend that is added is in no table that nobody told its author of."""
    for path in (each for package in PACKAGES for each in package.rglob("*.py")):
        if "dict[BackendName, " not in (source := path.read_text()):
            continue
        tree = ast.parse(source)
        for table in (each for each in ast.walk(tree) if isinstance(each, ast.AnnAssign)):
            if not ast.unparse(table.annotation).startswith("dict[BackendName, "):
                continue
            name = ast.unparse(table.target)
            has = (
                {ast.literal_eval(each) for each in table.value.keys if each}
                if isinstance(table.value, ast.Dict)
                else {}
            )
            asked = f"{name}[" in ast.unparse(tree)
            assert has == set(KINDS) or not asked, f"{path.name}: {name}"


def test_whoever_keeps_connections_notices_what_nobody_has_asked_for() -> None:
    """A session that is kept uses its connections again: ``new_session`` makes one that looks at them first."""
    for path in (each for package in PACKAGES for each in package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        every = list(ast.walk(tree))
        used_once = [item.context_expr for each in every if isinstance(each, ast.AsyncWith) for item in each.items]
        calls = [each for each in every if isinstance(each, ast.Call) and each not in used_once]
        kept = [each for each in calls if ast.unparse(each.func).endswith("ClientSession")]
        assert len(kept) == path.match("backends/post.py"), path


def test_every_method_of_a_backend_is_promised() -> None:
    methods = {name for name in vars(FlowBackend) if not name.startswith("_")}

    assert methods == {*ASKED, "ask", "abilities", "close"}


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
