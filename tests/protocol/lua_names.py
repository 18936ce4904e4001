"""What a parser tells of a Lua source: names that nothing in it declares, and values that are joined into JSON."""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter_lua
from tree_sitter import Language, Node, Parser

#: What Redis gives a script, of Lua's own and of its libraries.
GIVEN = frozenset(
    {"redis", "cjson", "string", "table", "math", "ARGV", "KEYS"}
    | {"tonumber", "tostring", "unpack", "ipairs", "pairs", "next", "type", "select", "error", "pcall"}
)
_PARSER = Parser(Language(tree_sitter_lua.language()))


def parsed(source: str) -> Node:
    """Return the tree of a source. Raises ValueError where it is no Lua."""
    root = _PARSER.parse(source.encode()).root_node
    if root.has_error:
        raise ValueError("this is no Lua")
    return root


def text_of(node: Node) -> str:
    return (node.text or b"").decode()


def undeclared(source: str) -> Iterator[str]:
    """Yield each reading of a name that is no local, no parameter and not given by Redis; each setting of a global."""
    yield from _uses(parsed(source), [set()])


def _uses(node: Node, scopes: list[set[str]]) -> Iterator[str]:
    match node.type:
        case "identifier":
            if text_of(node) not in GIVEN.union(*scopes):
                yield f"line {node.start_point.row + 1} reads {text_of(node)}"
        case "chunk" | "block":
            yield from _all(node.named_children, [*scopes, set()])
        case "dot_index_expression" | "method_index_expression":
            yield from _all(node.children_by_field_name("table"), scopes)
        case "field" if node.children[0].type != "[":
            yield from _all(node.children_by_field_name("value"), scopes)
        case "variable_declaration":
            yield from _declaration(node, scopes)
        case "assignment_statement":
            yield from _assignment(node, scopes)
        case "function_declaration" | "function_definition":
            yield from _function(node, scopes)
        case "for_statement":
            yield from _loop(node, scopes)
        case "repeat_statement":
            inner = [*scopes, set[str]()]
            body = node.child_by_field_name("body")
            yield from _all(body.named_children if body else [], inner)
            yield from _all(node.children_by_field_name("condition"), inner)
        case "goto_statement" | "label_statement":
            return
        case _:
            yield from _all(node.named_children, scopes)


def _all(nodes: list[Node], scopes: list[set[str]]) -> Iterator[str]:
    for node in nodes:
        yield from _uses(node, scopes)


def _names(node: Node) -> list[str]:
    return [text_of(each) for each in node.named_children if each.type == "identifier"]


def _declaration(node: Node, scopes: list[set[str]]) -> Iterator[str]:
    """A value is read before the local that it is given to exists."""
    (declared,) = node.named_children
    if declared.type == "assignment_statement":
        declared, *values = declared.named_children
        yield from _all(values, scopes)
    scopes[-1].update(_names(declared))


def _assignment(node: Node, scopes: list[set[str]]) -> Iterator[str]:
    targets, *values = node.named_children
    yield from _all(values, scopes)
    for target in targets.named_children:
        yield from _set(target, scopes)


def _set(target: Node, scopes: list[set[str]]) -> Iterator[str]:
    if target.type != "identifier":
        yield from _uses(target, scopes)
    elif text_of(target) not in set().union(*scopes):
        yield f"line {target.start_point.row + 1} sets {text_of(target)}"


def _function(node: Node, scopes: list[set[str]]) -> Iterator[str]:
    name = node.child_by_field_name("name")
    if name is not None:
        if node.children[0].type == "local":
            scopes[-1].add(text_of(name))
        yield from _set(name, scopes)
    parameters = node.child_by_field_name("parameters")
    inner = [*scopes, set(_names(parameters)) if parameters else set()]
    yield from _all(node.children_by_field_name("body"), inner)


def _loop(node: Node, scopes: list[set[str]]) -> Iterator[str]:
    (clause,) = node.children_by_field_name("clause")
    if clause.type == "for_generic_clause":
        variables, *values = clause.named_children
        declared = _names(variables)
    else:
        first, *values = clause.named_children
        declared = [text_of(first)]
    yield from _all(values, scopes)
    yield from _all(node.children_by_field_name("body"), [*scopes, set(declared)])


def joined_into_json(source: str) -> Iterator[str]:
    """Yield each value that is joined with a text which holds a quotation mark or a brace, as JSON does."""
    yield from _joints(parsed(source))


def _joints(node: Node) -> Iterator[str]:
    if not _is_joint(node):
        for each in node.named_children:
            yield from _joints(each)
        return
    parts = list(_parts(node))
    texts = [text_of(each)[1:-1] for each in parts if each.type == "string"]
    if len(texts) < len(parts) and any(mark in text for text in texts for mark in '"{'):
        yield from (text_of(each) for each in parts if each.type != "string")
    for each in parts:
        yield from _joints(each)


def _is_joint(node: Node) -> bool:
    return node.type == "binary_expression" and any(each.type == ".." for each in node.children)


def _parts(node: Node) -> Iterator[Node]:
    if _is_joint(node):
        for each in node.named_children:
            yield from _parts(each)
    else:
        yield node
