"""The modules of our packages as data: who imports whom, how long they are, which classes they have."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from processes import REPOSITORY


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path

    @property
    def name(self) -> str:
        """The dotted name by which it is imported."""
        parts = self.path.relative_to(REPOSITORY).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def classes(self) -> Iterator[ast.ClassDef]:
        """Yield the classes of the module itself, not those inside of functions and classes."""
        yield from (each for each in self.tree.body if isinstance(each, ast.ClassDef))


def modules_of(packages: Iterable[str]) -> list[Module]:
    return [Module(path) for package in packages for path in sorted((REPOSITORY / package).rglob("*.py"))]


def methods_of(owner: ast.ClassDef) -> int:
    """Return how many methods a class defines itself, properties and special methods among them."""
    return sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in owner.body)


def imports_of(tree: ast.AST, known: Iterable[str]) -> set[str]:
    """Return which of the known modules are imported anywhere in a file, also in functions and for type checkers."""
    names = set(known)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import module`` imports the module; ``from module import name`` the one before "import".
            inner = {f"{node.module}.{each.name}" for each in node.names}
            found |= inner & names
            if inner - names:
                found.add(node.module)
    return found & names


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other directly or over others (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(imports.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in imports.get(name, ()):
                found.append(sorted(group))

    for name in sorted(imports):
        if name not in index:
            visit(name)
    return sorted(found)
