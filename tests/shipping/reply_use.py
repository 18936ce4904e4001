"""Which calls of a script leave its reply unread. A type checker says nothing of a call whose result is dropped."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

#: What scripts are called on: the generated module, and the objects whose methods return a script's reply.
CALLED_ON = frozenset({"scripts", "transport_scripts", "transitions", "upkeep", "stops"})
#: The name of the type of a reply; what a function of ``transport_scripts`` returns is still to be sent.
REPLY = re.compile(r"\w+Reply\b")
ELSEWHERE = re.compile(r"\b(?:transport_)?scripts\.\w+Reply\b")
SENT_LATER = "ScriptCall"
#: The type of a reply in that of the call that is still to be sent.
OF_CALL = re.compile(rf"\b{SENT_LATER}\[(.+?)\]$")
#: They look at a reply and give something else.
LOOKING = frozenset({"isinstance", "bool", "type", "str", "repr", "len", "print"})
#: It makes what is sent of a call; whoever reads the reply does so with the call's own ``read``.
PACKING = "evalsha"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.Module)


@dataclass(frozen=True)
class Known:
    """Which functions have to do with replies."""

    #: Those that run a script, by what they are called on.
    scripts: Mapping[str, set[str]] = field(default_factory=dict)
    #: Names of functions that return the reply of a call which they make, whatever they are called on.
    passing_on: Collection[str] = frozenset()
    #: Names of functions that return a call which is still to be sent.
    making: Collection[str] = frozenset()
    #: Names of functions that are given a reply. ``unread_parameters`` looks into them.
    taking: Collection[str] = frozenset()


def known_of(trees: Iterable[ast.Module], scripts: Mapping[str, set[str]]) -> Known:
    """Return what the functions of these modules do with replies: by their annotations and by what they return."""
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    passing_on = {each.name for each in functions if ELSEWHERE.search(text := _text(each.returns)) and not _later(text)}
    making = {each.name for each in functions if _later(_text(each.returns))}
    taking = {each.name for each in functions if any(map(_is_reply, _parameters(each)))}
    returning = [(each, _above(each)) for each in functions if _returns(each)]
    while True:
        known = Known(scripts, frozenset(passing_on), frozenset(making), frozenset(taking))
        for each, above in returning:
            for later in _returned(each, above, known):
                (making if later else passing_on).add(each.name)
        if known.passing_on == passing_on and known.making == making:
            return known


def returning_replies(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's functions and methods that are annotated to return a script's reply."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and REPLY.search(_text(node.returns)):
            yield node.name


def unread_parameters(tree: ast.Module) -> Iterator[str]:
    """Yield the functions that are given a reply, or a call to send, and drop the reply.

    A reply must be matched to its last kind; of a call to send, the type of its reply must be in what is returned.
    """
    for node in ast.walk(tree):
        if not isinstance(node, FUNCTIONS):
            continue
        for each in _parameters(node):
            of_call = OF_CALL.search(_text(each.annotation))
            sent = of_call and not re.search(rf"\b{re.escape(of_call[1])}(?!\w)", _text(node.returns))
            if sent or (_is_reply(each) and not _is_matched(each.arg, node)):
                yield f"{node.lineno}: {node.name}({each.arg})"


def unread_replies(tree: ast.Module, known: Known) -> Iterator[str]:
    """Yield the calls of these functions whose reply is neither returned nor matched to its last kind.

    A function that is named as an argument counts as called. A reply is read where it is returned, where ``match`` with
    ``assert_never`` takes it apart, where it is given to a function that must do so, or where a field is taken of it:
    mypy refuses that once there is a second kind of reply without the field.
    """
    above = _above(tree)
    for node in ast.walk(tree):
        if (later := _of_script(node, above, known)) is not None and not _is_read(node, above, known, later=later):
            yield f"{getattr(node, 'lineno', 0)}: {ast.unparse(node.func if isinstance(node, ast.Call) else node)}"


def renamed(tree: ast.Module) -> Iterator[str]:
    """Yield where something that scripts are called on gets a name by which its calls would not be found."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[target], value=value) if _last_name(value) in CALLED_ON:
                if _last_name(target) not in CALLED_ON:
                    yield ast.unparse(node)
            case ast.arg(arg=name, annotation=ast.Name(id="Transitions" | "Upkeep" | "Stops")) if name not in CALLED_ON:
                yield name
            case ast.ImportFrom(module="agentic_flywheel.broker.scripts"):
                yield ast.unparse(node)


def _above(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = function.args
    rest = [each for each in (given.vararg, given.kwarg) if each]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def _is_reply(parameter: ast.arg) -> bool:
    text = _text(parameter.annotation)
    return bool(ELSEWHERE.search(text)) and "Callable[" not in text and not _later(text)


def _later(annotation: str) -> bool:
    return f"{SENT_LATER}[" in annotation


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Return) and each.value for each in ast.walk(function))


def _returned(
    function: ast.FunctionDef | ast.AsyncFunctionDef, above: Mapping[ast.AST, ast.AST], known: Known
) -> Iterator[bool]:
    """Yield, for each reply that a function returns as it is, whether it is a call that is still to be sent."""
    for node in above:
        later = _of_script(node, above, known)
        if later is None or _scope(node, above) is not function:
            continue
        statement, how, sent = _climb(node, above, known, later=later)
        if how is not None:
            continue
        match statement:
            case ast.Return():
                yield later and not sent
            case ast.Assign(targets=[ast.Name(id=name)]) if _is_returned(name, function):
                yield later and not sent


def _of_script(node: ast.AST, above: Mapping[ast.AST, ast.AST], known: Known) -> bool | None:
    """Return whether what a function returns is still to be sent; None where it is no reply and no call of a script."""
    match node:
        case ast.Call(func=function):
            pass
        case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
            outer = above.get(node)
            # Named as an argument: whoever gets it calls it.
            if not isinstance(outer, ast.Call | ast.keyword) or (isinstance(outer, ast.Call) and outer.func is node):
                return None
            function = node
        case _:
            return None
    name = _name(function)
    if isinstance(function, ast.Attribute) and function.attr in known.scripts.get(_last_name(function.value), ()):
        return _last_name(function.value) == "transport_scripts"
    if name in known.making or (isinstance(node, ast.Call) and name == SENT_LATER):
        return True
    return False if name in known.passing_on else None


def _text(annotation: ast.expr | None) -> str:
    return ast.unparse(annotation) if annotation else ""


def _last_name(node: ast.expr) -> str:
    return _name(node).removeprefix("_")


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _scope(node: ast.AST, above: Mapping[ast.AST, ast.AST]) -> ast.AST:
    while not isinstance(node, SCOPES) or isinstance(node, ast.Lambda):
        node = above.get(node, ast.Module(body=[], type_ignores=[]))
    return node


def _climb(
    call: ast.AST, above: Mapping[ast.AST, ast.AST], known: Known, *, later: bool
) -> tuple[ast.AST, bool | None, ast.Call | None]:
    """Return the statement of a call, whether its reply is read or dropped on the way, and the call that sends it."""
    node, sent = call, None
    while not isinstance(node, ast.stmt):
        inner, node = node, above[node]
        match node:
            case ast.Attribute() if not isinstance(inner, ast.Call):
                return node, True, sent
            case ast.Attribute(attr="read") if later and isinstance(called := above[node], ast.Call):
                sent = sent or called
            case ast.Call(func=ast.Name(id=name)) if later and name == PACKING:
                return node, True, sent
            case ast.Compare() | ast.UnaryOp() | ast.BoolOp():
                return node, False, sent
            case ast.Call(func=function) if inner is not function:
                if (name := _name(function)) in LOOKING:
                    return node, False, sent
                if name in known.taking and (sent or not later):
                    return node, True, sent
                sent = sent or node
    return node, None, sent if later else None


def _is_read(call: ast.AST, above: Mapping[ast.AST, ast.AST], known: Known, *, later: bool = False) -> bool:
    """Whether a reply is read. ``later``: the call only says what is to be sent; another one sends it."""
    statement, how, sent = _climb(call, above, known, later=later)
    if how is not None:
        return how
    scope = _scope(call, above)
    match statement:
        case ast.Return():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if later and not sent:
            sends = [each for each in ast.walk(scope) if isinstance(each, ast.Call) and _is_given(name, each)]
            return bool(sends) and all(_is_read(each, above, known) for each in sends)
        case ast.Assign(targets=[ast.Name(id=name)]):
            return _is_handled(name, scope, above, known)
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
            theirs = _targets_of(call, targets, value, above)
            return all(isinstance(each, ast.Name) and _is_handled(each.id, scope, above, known) for each in theirs)
        case _:
            return False


def _targets_of(
    call: ast.AST, targets: list[ast.expr], value: ast.expr, above: Mapping[ast.AST, ast.AST]
) -> list[ast.expr]:
    """Return the targets that a reply goes to: its own where there is one for each part of the value, else all."""
    if isinstance(value, ast.Await):
        value = value.value
    parts = value.args if isinstance(value, ast.Call) else value.elts if isinstance(value, ast.Tuple) else []
    if len(parts) != len(targets) or any(isinstance(each, ast.Starred) for each in (*parts, *targets)):
        return targets
    node = call
    while node not in parts:
        if node is value:
            return targets
        node = above[node]
    return [targets[at] for at, part in enumerate(parts) if part is node]


def _is_handled(name: str, scope: ast.AST, above: Mapping[ast.AST, ast.AST], known: Known) -> bool:
    """Whether a variable with a reply is matched, returned as it is, taken apart, or given to who must match it."""
    uses = [node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == name]
    return (
        _is_matched(name, scope)
        or _is_returned(name, scope)
        or _is_only_taken_apart(name, scope)
        or any(_is_given_on(each, above, known) for each in uses)
    )


def _is_given_on(node: ast.AST, above: Mapping[ast.AST, ast.AST], known: Known) -> bool:
    outer = above.get(node)
    return isinstance(outer, ast.Call) and node in outer.args and _name(outer.func) in known.taking


def _is_given(name: str, call: ast.Call) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in call.args)


def _is_returned(name: str, scope: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Return) and isinstance(node.value, ast.Name) and node.value.id == name
        for node in ast.walk(scope)
    )


def _is_matched(name: str, scope: ast.AST) -> bool:
    """Whether a ``match`` takes a reply apart, has no case for whatever it is, and ends with ``assert_never``."""
    never = f"assert_never({name})"
    found = (node for node in ast.walk(scope) if isinstance(node, ast.Match) and ast.unparse(node.subject) == name)
    return any(
        ast.unparse(node.cases[-1].body[0]) == never
        and not any(_takes_any(inner) for case in node.cases[:-1] for inner in ast.walk(case.pattern))
        for node in found
    )


def _takes_any(pattern: ast.AST) -> bool:
    match pattern:
        case ast.MatchAs(pattern=None):
            return True
        case ast.MatchClass(cls=kind):
            return _last_name(kind) in ("object", "Replied")
        case _:
            return False


def _is_only_taken_apart(name: str, scope: ast.AST) -> bool:
    fields = {id(node.value) for node in ast.walk(scope) if isinstance(node, ast.Attribute)}
    uses = [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]
    return bool(uses) and all(id(node) in fields for node in uses)
