"""What makes a test fail on a busy machine alone: a wait that is short, a file that somebody reads half written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from processes import REPOSITORY

#: Least seconds that a test waits for something; `wait_for` waits for 30. What is below 1 is a time-out that strikes.
LEAST = 20.0
#: Functions that wait, with the arguments that say how long; a number is one by its place.
WAITING: dict[str, tuple[str | int, ...]] = {
    "wait_for": ("within",),
    "wait": ("within", "timeout", 1),
    "terminate": ("within",),
    "finish": ("within",),
    "get": ("timeout",),
    "ask": ("wait",),
    "communicate": ("timeout",),
    "urlopen": ("timeout",),
}
#: What ends the processes of a test when it is over may be short: those that stay are killed.
CLEARS_AWAY = {"tests/engine/conftest.py"}
#: They bound things within their own process, such as a client that must not hang.
WITHIN_ITSELF = ("asyncio.wait_for", "asyncio.wait")


def test_no_wait_for_another_process_is_short() -> None:
    short = {
        f"{name}:{line}": seconds
        for path in sorted((REPOSITORY / "tests").rglob("*.py"))
        if (name := path.relative_to(REPOSITORY).as_posix()) not in CLEARS_AWAY
        for line, seconds in short_waits(ast.parse(path.read_text()))
    }

    assert short == {}


def test_no_registry_of_a_house_is_written_in_place() -> None:
    """Its workers watch it, and would find it empty: `House.change_registry` is for that."""
    in_place = re.compile(r"house\.registry\.(?:write_text|write_bytes|open)\(")
    tests = sorted((REPOSITORY / "tests").rglob("*.py"))

    assert [path.name for path in tests if in_place.search(path.read_text())] == []


def test_the_rule_would_notice_a_short_wait() -> None:
    text = """
async def first():
    wait_for(ready, within=5)
    await asyncio.to_thread(worker.terminate, within=3)
    await producer.wait(query_id, 10)
    async with asyncio.timeout(2):
        while not ready():
            await asyncio.sleep(0.1)

async def none():
    wait_for(ready, within=60)
    await producer.submit(question, timeout=2)
    await asyncio.wait_for(client.call(), timeout=3)
    with pytest.raises(WaitTimeout):
        await producer.wait(query_id, 2)
"""
    assert list(short_waits(ast.parse(text))) == [(3, 5), (4, 3), (5, 10), (6, 2)]


def short_waits(tree: ast.AST) -> Iterator[tuple[int, float]]:
    """Yield the line of each wait that is too short, and its seconds. Where a time-out is expected, none is."""
    if isinstance(tree, ast.With | ast.AsyncWith):
        entered = [ast.unparse(each.context_expr) for each in tree.items]
        if any("raises" in each and "Timeout" in each for each in entered):
            return
        for each in tree.items:
            if isinstance(each.context_expr, ast.Call) and any(isinstance(line, ast.While) for line in tree.body):
                yield from _too_short(each.context_expr, "asyncio.timeout", each.context_expr.args[:1])
    if isinstance(tree, ast.Call):
        function, arguments = ast.unparse(tree.func), list(tree.args)
        if function == "asyncio.to_thread":
            function, arguments = ast.unparse(arguments[0]), arguments[1:]
        names = WAITING.get(function.rpartition(".")[2], ()) if function not in WITHIN_ITSELF else ()
        given = [each.value for each in tree.keywords if each.arg in names]
        given += [arguments[each] for each in names if isinstance(each, int) and each < len(arguments)]
        yield from _too_short(tree, "", given)
    for child in ast.iter_child_nodes(tree):
        yield from short_waits(child)


def _too_short(call: ast.Call, function: str, given: list[ast.expr]) -> Iterator[tuple[int, float]]:
    if function in ("", ast.unparse(call.func)):
        for each in given:
            if isinstance(each, ast.Constant) and isinstance(each.value, int | float) and 1 < each.value < LEAST:
                yield call.lineno, each.value
