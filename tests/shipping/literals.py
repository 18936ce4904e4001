"""Which literals of a module stand for a name that ``wire`` has, or for a value of an enumeration."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

#: What an argument is called in which a state, a wait reason, a kind of event or a stage stands.
HOLDERS = frozenset({"state", "reason", "kind", "stage"})


def spoken(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def names_of_keys(tree: ast.AST, starts: tuple[str, ...]) -> Iterator[str]:
    """Yield the literals that begin as a key, queue or channel does, and what is put together with ``PREFIX``.

    Also those within an f-string.
    """
    docstrings = spoken(tree)
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=part) | ast.FormattedValue(value=part) if _is_prefix(part):
                yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(attr="join" | "format"), args=parts) if any(map(_is_prefix, parts)):
                yield f"{node.lineno}: {ast.unparse(node)}"
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if node.value.startswith(starts):
            yield f"{node.lineno}: {node.value!r}"


def _is_prefix(node: ast.expr) -> bool:
    """Whether it is ``wire.PREFIX``: keys are made of it in ``wire`` alone."""
    return (isinstance(node, ast.Name) and node.id == "PREFIX") or (
        isinstance(node, ast.Attribute) and node.attr == "PREFIX" and ast.unparse(node.value).endswith("wire")
    )


def compared(tree: ast.AST, values: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield line and text of the literals with one of these values that anything is compared with or looked up by.

    Whatever the variable is called: operands of comparisons, patterns, the keys of a table, and the members of a
    display that has no others. Also what an argument called ``state``, ``reason``, ``kind`` or ``stage`` is given.
    """
    tables = _tables(tree)
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        match node:
            case ast.Compare(left=left, comparators=others):
                found = [each for operand in (left, *others) for each in _alternatives(operand)]
            case ast.MatchValue(value=value):
                found = [value]
            case ast.Dict(keys=keys) if id(node) in tables or _has_no_others(keys, values):
                found = list(keys)
            case ast.Set(elts=members) | ast.Tuple(elts=members) | ast.List(elts=members):
                found = list(members) if _has_no_others(members, values) else []
            case ast.keyword(arg=name, value=value) if name in HOLDERS:
                found = [each for each in ast.walk(value) if isinstance(each, ast.Constant)]
        for one in found:
            if isinstance(one, ast.Constant) and type(one.value) is str and one.value in values:
                yield one.lineno, one.value


def _alternatives(operand: ast.expr) -> list[ast.expr]:
    """Return what an operand is, or may be: the members of a display, also within a call such as ``frozenset``."""
    match operand:
        case ast.Set(elts=members) | ast.Tuple(elts=members) | ast.List(elts=members):
            return members
        case ast.Call(args=[inner]):
            return _alternatives(inner) if isinstance(inner, ast.Set | ast.Tuple | ast.List) else []
        case ast.IfExp(body=one, orelse=other):
            return [*_alternatives(one), *_alternatives(other)]
        case _:
            return [operand]


def _tables(tree: ast.AST) -> set[int]:
    """Return the ids of the dict displays in which something is looked up: at once, or under a name of the module."""
    found: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Dict() as table) | ast.Attribute(value=ast.Dict() as table):
                found.add(id(table))
            case ast.Module(body=body) | ast.ClassDef(body=body):
                found |= {
                    id(each.value)
                    for each in body
                    if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, ast.Dict)
                }
    return found


def _has_no_others(members: Sequence[ast.expr | None], values: Collection[str]) -> bool:
    return len(members) > 1 and all(isinstance(each, ast.Constant) and each.value in values for each in members)
