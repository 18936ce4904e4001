"""What holds for the text of the sources: who imports whom, who reads the environment, what is never in a file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import REPOSITORY

#: mcp_bridge -> producer -> agentic_flywheel <- workers
MAY_IMPORT = {
    "agentic_flywheel": {"agentic_flywheel"},
    "workers": {"workers", "agentic_flywheel"},
    "producer": {"producer", "agentic_flywheel"},
    "mcp_bridge": {"mcp_bridge", "producer", "agentic_flywheel"},
}
MODULES = [path for package in MAY_IMPORT for path in sorted((REPOSITORY / package).rglob("*.py"))]
READS_ENVIRONMENT = {"agentic_flywheel/settings.py"}


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported_by(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, wherever in the file, also by name at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide who imports whom"
            yield node.module or ""
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def reads_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any(each.name in names for each in node.names))
        for node in ast.walk(tree)
    )


def breaches(rule: Callable[[str, ast.Module], bool]) -> list[str]:
    """Return the modules for which ``rule``, given their name and tree, does not hold."""
    trees = ((relative(path), ast.parse(path.read_text())) for path in MODULES)
    return [name for name, tree in trees if not rule(name, tree)]


def test_packages_import_each_other_only_in_the_agreed_direction() -> None:
    def agreed(name: str, tree: ast.Module) -> bool:
        ours = {imported.split(".")[0] for imported in imported_by(tree)} & set(MAY_IMPORT)
        return ours <= MAY_IMPORT[name.split("/")[0]]

    assert breaches(agreed) == []


def test_only_the_settings_read_the_environment() -> None:
    assert breaches(lambda name, tree: name in READS_ENVIRONMENT or not reads_environment(tree)) == []


def test_every_module_says_in_its_docstring_what_it_is_for() -> None:
    assert (
        breaches(lambda _, tree: isinstance(tree, ast.Module) and bool(ast.get_docstring(tree) or not tree.body)) == []
    )


def test_the_rules_would_notice_a_breach() -> None:
    assert list(imported_by(ast.parse("def f():\n    from producer.cli import main\n    import workers.app"))) == [
        "producer.cli",
        "workers.app",
    ]
    assert list(imported_by(ast.parse("importlib.import_module('workers.tasks')"))) == ["workers.tasks"]
    assert reads_environment(ast.parse("import os\nos.getenv('X')"))
    assert reads_environment(ast.parse("from os import environ"))
    assert not reads_environment(ast.parse("import os\nos.kill(1, 2)"))


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = REPOSITORY / name
        if path.is_file() and path != Path(__file__):
            yield name, path.read_bytes().decode(errors="replace")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w.~$}-])/(?:work|root|farm)/",
        r"(?<![\w.~$}-])/home/(?!<|\$|user\b|you\b)\w+/",
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|artifactory|/simple/",
    ],
    ids=["paths of one machine", "somebody's home", "package registries"],
)
def test_no_tracked_file_names(pattern: str) -> None:
    found = [f"{name}: {match[0]}" for name, text in tracked_texts() for match in re.finditer(pattern, text)]

    # Flowise's image keeps its data in this folder.
    assert [each for each in found if not each.startswith("compose.yaml: /root/")] == []
