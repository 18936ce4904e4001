"""What scripts reply is read by whoever calls them."""

from __future__ import annotations

import ast

import pytest
from shipping.reply_use import (
    CALLED_ON,
    Known,
    known_of,
    renamed,
    returning_replies,
    unread_parameters,
    unread_replies,
)
from shipping.source_tree import modules_of

MODULES = modules_of(["agentic_flywheel", "workers", "producer", "mcp_bridge", "flowise_sandbox"])
#: A case before the last one.
OTHERS = "        case {}:\n            pass\n        case _:\n            assert_never(reply)"
HOME = {f"agentic_flywheel.broker.{owner}": owner for owner in CALLED_ON}


def test_no_reply_of_a_script_is_dropped() -> None:
    # The functions whose result is a script's reply, by what they are called on.
    names = {HOME[each.name]: set(returning_replies(each.tree)) for each in MODULES if each.name in HOME}
    # All functions elsewhere that have to do with replies.
    known = known_of((each.tree for each in MODULES if each.name not in HOME), names)

    assert {"adopt", "finish", "release"} <= names["transitions"]
    assert names["transitions"] | names["upkeep"] | names["stops"] < names["scripts"]
    assert {"settle", "fetch", "stamp", "expired"} <= names["transport_scripts"]
    assert "submitted_with_files" in known.passing_on
    assert "_settlement" in known.making
    assert "_note" in known.taking
    assert {each.name: found for each in MODULES if (found := list(unread_replies(each.tree, known)))} == {}


def test_no_function_that_is_given_a_reply_drops_it() -> None:
    assert {each.name: found for each in MODULES if (found := list(unread_parameters(each.tree)))} == {}


def test_whatever_scripts_are_called_on_keeps_its_name() -> None:
    assert {each.name: found for each in MODULES if (found := list(renamed(each.tree)))} == {}


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        ("await self._transitions.release(x)", False),
        ("await asyncio.shield(asyncio.wait_for(runtime.transitions.release(x), 1.0))", False),
        ("reply = await scripts.release(x)", False),
        ("self.sent = evalsha(transport_scripts.release(x), '')", True),
        ("reply = transport_scripts.release(x).read(y)", False),
        (
            "reply = transport_scripts.release(x).read(y)\n    match reply:\n"
            "        case _:\n            assert_never(reply)",
            True,
        ),
        ("reply = await scripts.release(x)\n    return isinstance(reply, Late)", False),
        ("reply = await scripts.release(x)\n    match reply:\n        case Late():\n            pass", False),
        ("reply = await scripts.release(x)\n    match reply:\n        case _:\n            assert_never(reply)", True),
        ("await self.passes_on(x)", False),
        ("return await passes_on(x)", True),
        ("reply = await passes_on(x)\n    match reply:\n        case _:\n            pass", False),
        ("reply = await scripts.release(x)\n    match reply:\n" + OTHERS.format("object()"), False),
        ("reply = await scripts.release(x)\n    match reply:\n" + OTHERS.format("other"), False),
        ("reply = await scripts.release(x)\n    match reply:\n" + OTHERS.format("Late() | Replied()"), False),
        ("reply = await scripts.release(x)\n    match reply:\n" + OTHERS.format("Late()"), True),
        ("link.run(transport_scripts.release(x))", False),
        ("call = transport_scripts.release(x)\n    link.run(call)", False),
        (
            "call = transport_scripts.release(x)\n    reply = link.run(call)\n    match reply:\n"
            + OTHERS.format("Late()"),
            True,
        ),
        ("reply = await scripts.release(x)\n    return reply.lost", True),
        ("lost = (await scripts.release(x)).lost", True),
        ("return await scripts.release(x)", True),
        ("await connection.release(x)", True),
        # What only looks at a reply does not read it.
        ("return isinstance(await scripts.release(x), Late)", False),
        ("return await scripts.release(x) == LATE", False),
        ("return not await scripts.release(x)", False),
        # Another function calls it.
        ("await again(lambda: scripts.release(x))", False),
        ("await again(self._transitions.release)", False),
        ("await again(partial(scripts.release, x))", False),
        ("await again(passes_on)", False),
        ("return await again(lambda: scripts.release(x))", True),
        ("reply = await again(lambda: scripts.release(x))\n    match reply:\n" + OTHERS.format("Late()"), True),
        # A call that another one sends.
        ("link.run(self._makes())", False),
        ("link.run(ScriptCall(SCRIPT, (), read))", False),
        ("self._makes()", False),
        ("call = self._makes()\n    link.run(call)", False),
        ("self.call = self._makes()\n    link.run(self.call)", False),
        ("link.run_all([transport_scripts.release(x), self._makes()])", False),
        ("self.takes(link.run(self._makes()))", True),
        ("reply = link.run(self._makes())\n    self.takes(reply)", True),
        ("reply = link.run(self._makes())\n    self.writes(reply)", False),
        # Several at once.
        ("one, two = link.run_both(self._makes(), transport_scripts.release(x))\n    self.takes(one)", False),
        ("one, two = link.run_both(self._makes(), other)\n    self.takes(one)", True),
        ("one, two = link.run_both(other, self._makes())\n    self.takes(one)", False),
        ("one, _ = await gather(scripts.release(x), other())\n    return one.lost", True),
        ("_, two = await gather(scripts.release(x), other())\n    return two.lost", False),
        ("_, *rest = await gather(scripts.release(x), other())\n    return rest", False),
        ("one, two = (await scripts.release(x)), 0\n    return one.lost + two", True),
        ("(reply,) = await gather(scripts.release(x))\n    match reply:\n" + OTHERS.format("Late()"), True),
        ("(reply,) = await gather(scripts.release(x))", False),
    ],
)
def test_a_dropped_reply_would_be_noticed(body: str, is_read: bool) -> None:
    tree = ast.parse(f"async def f(x):\n    {body}\n")
    known = Known({name: {"release"} for name in CALLED_ON}, {"passes_on"}, {"_makes"}, {"takes"})

    assert (list(unread_replies(tree, known)) == []) == is_read


@pytest.mark.parametrize(
    ("signature", "body", "found"),
    [
        ("() -> object", "return await scripts.release(1)", "passing_on"),
        ("()", "reply = await scripts.release(1)\n    return reply", "passing_on"),
        ("()", "return await again(lambda: scripts.release(1))", "passing_on"),
        ("()", "return await helper_of_helper()", "passing_on"),
        ("()", "return (await scripts.release(1)).lost", ""),
        ("()", "return isinstance(await scripts.release(1), Late)", ""),
        ("() -> scripts.ReleaseReply", "...", "passing_on"),
        ("() -> Any", "return transport_scripts.release(1)", "making"),
        ("()", "call = transport_scripts.release(1)\n    return call", "making"),
        ("() -> ScriptCall[transport_scripts.ReleaseReply]", "...", "making"),
        ("()", "return link.run(transport_scripts.release(1))", "passing_on"),
        ("(reply: transport_scripts.ReleaseReply | None)", "...", "taking"),
    ],
)
def test_what_a_helper_does_with_a_reply_is_seen_in_its_body_whatever_it_is_annotated(
    signature: str, body: str, found: str
) -> None:
    before = "async def helper_of_helper():\n    return await scripts.release(1)\n"
    tree = ast.parse(f"async def helper{signature}:\n    {body}\n{before}")
    known = known_of([tree], {name: {"release"} for name in CALLED_ON})

    assert [name for name in ("passing_on", "making", "taking") if "helper" in getattr(known, name)] == [
        name for name in [found] if name
    ]


@pytest.mark.parametrize(("last", "is_read"), [("assert_never(reply)", True), ("pass", False)])
def test_a_dropped_reply_that_a_function_is_given_would_be_noticed(last: str, is_read: bool) -> None:
    body = f"    match reply:\n        case Late():\n            pass\n        case _:\n            {last}\n"
    tree = ast.parse(f"def f(self, reply: scripts.DeferReply | ResponseError) -> None:\n{body}")

    assert (list(unread_parameters(tree)) == []) == is_read


@pytest.mark.parametrize(
    ("signature", "is_read"),
    [
        ("(self, call: ScriptCall[R]) -> R | None", True),
        ("(self, *calls: ScriptCall[Any]) -> list[Any]", True),
        ("(self, call: ScriptCall[R]) -> None", False),
        ("(self, call: ScriptCall[R]) -> bool", False),
        ("(self, one: ScriptCall[R], two: ScriptCall[S]) -> S", False),
        ("(self, call: ScriptCall[transport_scripts.SettleReply])", False),
    ],
)
def test_a_function_that_sends_a_call_and_drops_its_reply_would_be_noticed(signature: str, is_read: bool) -> None:
    assert (list(unread_parameters(ast.parse(f"def send{signature}: ..."))) == []) == is_read


def test_another_name_for_it_would_be_noticed() -> None:
    for line in (
        "steps = runtime.transitions",
        "def f(steps: Transitions): ...",
        "from agentic_flywheel.broker.scripts import release",
    ):
        assert list(renamed(ast.parse(line)))
    assert list(renamed(ast.parse("self._transitions = transitions"))) == []
