"""Whoever else asks for what is a person's is told what would be told of what never was.

The lists of methods, tools, resources, prompts, requests and commands are those that are registered. Each value that a
call takes is given by the name of its argument, so a new one with a new argument fails here until it is known.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from bridge_house import BridgeHouse

from agentic_flywheel.asker import Asker
from mcp_bridge.bridge import Bridge as McpBridge
from mcp_bridge.prompts import PROMPTS
from mcp_bridge.resources import RESOURCES, TEMPLATES
from mcp_bridge.server import build_server
from mcp_bridge.toolsets import ALL_TOOLS
from person.house import ANN, MARKER, OWNERS, Bridge, Things, commands, nothing, outcome, run_command, strangers
from producer import AsyncProducer
from producer.cli.commands import COMMANDS

QUESTION = "How do I use a python database?"

# By the name of an argument: the thing that it names, ...
NAMES: dict[str, str] = {
    "query_id": "query_id",
    "trace_id": "query_id",
    "reroute_of": "query_id",
    "session_id": "session_id",
    "session": "session_id",
    "batch_id": "batch_id",
    "idempotency_key": "key",
    "taskId": "query_id",
}
# ... or a value that names nothing of anybody's. Those with a default that are not here are left at it.
VALUES: dict[str, Any] = {
    "question": QUESTION,
    "questions": [QUESTION],
    "value": 5,
    "decision": "proceed",
    "proceed": True,
    "stop": 1,
    "flow": "creative-orientation",
    "profile": None,
    "domain_name": "cooking",
    "context_type": "technical",
    "domain_description": "Meals for many.",
    "flow_key": "document-qa",
    "flow_id": "00000000-0000-4000-8000-0000000000aa",
    "description": "A flow of this test.",
    "confirm": True,
    "owner": "rival",
    "config": {"temperature": 0.2},
    "text": MARKER,
    "by": "user",
    "wait_s": 20,
    "wait": 30,
    "timeout": 30,
}
#: What may be left out and is in no call.
LEFT_OUT = {
    "after", "answer_from", "cache", "column", "comment", "context", "cultural_info", "cursor", "days", "domain",
    "encoding", "everything", "examples", "explain", "feedback", "file", "flow_override", "hours", "idempotency_keys",
    "include_answers", "intent", "json", "keywords", "limit", "max_score", "min_score", "name", "no_cache", "nothing",
    "priority", "refresh", "registry", "reject", "compare", "since", "since_hours", "stack_info", "timeout_s", "until",
    "user", "fields", "form", "upload", "uploads", "limit_wait",
}  # fmt: skip
#: Not methods of one asker: what they give has no owner, or they give another producer.
OF_NOBODY = {"close", "batch", "catalog", "profiles", "acting_for"}
#: Commands of the person who runs the stack, who sees the broker anyway: they take no ``--owner``.
OF_THE_OPERATOR = {
    "audit", "cache", "dead-letters", "demo", "doctor", "flows", "forget", "health", "init", "learn", "mcp", "pause",
    "replay", "serve", "tokens", "up", "usage", "worker",
}  # fmt: skip
#: Requests that name nothing of anybody's.
OF_THE_PROTOCOL = {
    "ping", "server/discover", "prompts/list", "resources/list", "resources/templates/list", "tools/list",
    "resources/unsubscribe",
}  # fmt: skip
#: Walked each in a test of its own.
ELSEWHERE = {"tools/call", "resources/read", "resources/subscribe", "subscriptions/listen", "prompts/get"}


def arguments_of(names: dict[str, bool], things: Things) -> dict[str, Any]:
    """Return a value for each argument. ``names``: whether it is needed."""
    unknown = set(names) - NAMES.keys() - VALUES.keys() - LEFT_OUT
    assert not unknown, f"say in NAMES, VALUES or LEFT_OUT what {unknown} is"
    assert not [name for name, needed in names.items() if needed and name in LEFT_OUT]
    given = {name: getattr(things, NAMES[name]) for name in names if name in NAMES}
    return given | {name: VALUES[name] for name in names if name in VALUES}


def ways(names: dict[str, bool], things: Things) -> Iterator[dict[str, Any]]:
    """Yield the arguments of several calls: with everything, and with each thing alone."""
    whole = arguments_of(names, things)
    yield whole
    for thing in [name for name in names if name in NAMES]:
        yield {name: value for name, value in whole.items() if name == thing or name not in NAMES or names[name]}
        yield {name: value for name, value in whole.items() if name == thing or names[name]}
    yield {name: value for name, value in whole.items() if names[name]}


def assert_the_same(told: list[str], things: Things, never: Things, *, saying: object) -> None:
    mine, of_nothing = told
    assert MARKER not in things.plain(mine).replace(f"'{MARKER}'", ""), saying
    assert things.plain(mine) == never.plain(of_nothing), saying


async def untouched(house: BridgeHouse, things: Things) -> None:
    async with AsyncProducer(house.settings, owner=ANN.owner, user=ANN.user) as producer:
        assert (await producer.status(things.query_id)).state == "succeeded"
        assert [turn.query_id for turn in await producer.history(things.session_id)] == [things.query_id]


# Methods


METHODS = sorted(name for name in vars(AsyncProducer) if not name.startswith("_") and name not in OF_NOBODY)


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_finds_nothing_of_another_asker(method: str, house: BridgeHouse, things: Things) -> None:
    parameters = list(inspect.signature(getattr(AsyncProducer, method)).parameters.values())[1:]
    names = {each.name: each.default is each.empty for each in parameters if each.kind is not each.VAR_KEYWORD}
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        names |= {"session_id": False}
    listed = names.pop("query_ids", None) is not None

    async with AsyncProducer(house.settings) as producer:
        for number in range(len(list(ways(names, things)))):
            for mine, theirs in zip(strangers(), strangers(), strict=True):
                told = []
                never = nothing()
                for asker, which in ((mine, things), (theirs, never)):
                    given = list(ways(names, which))[number]
                    if listed:
                        given["query_ids"] = [which.query_id]
                    found = await outcome(call(producer.acting_for(*asker), method, given))
                    told.append(plainly(found, mine, theirs))
                assert_the_same(told, things, never, saying=(mine, method, number))
    await untouched(house, things)


def call(producer: AsyncProducer, method: str, given: dict[str, Any]) -> Any:
    if method == "use_profile":
        given = {"profile": None, **given}
    return getattr(producer, method)(**given)


# MCP


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
async def test_a_tool_finds_nothing_of_another_asker(tool: Any, bridge: Bridge, things: Things) -> None:
    names = {name: field.is_required() for name, field in tool.arguments.model_fields.items()}
    for number in range(len(list(ways(names, things)))):
        for mine, theirs in zip(strangers(), strangers(), strict=True):
            never = nothing()
            told = [
                str(await bridge.call(asker, tool.name, without_none(list(ways(names, which))[number])))
                for asker, which in ((mine, things), (theirs, never))
            ]
            told = [plainly(each, mine, theirs) for each in told]
            assert_the_same(told, things, never, saying=(mine, tool.name, number))
    await untouched(bridge.house, things)


def without_none(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def plainly(told: str, *askers: Asker) -> str:
    for asker in askers:
        told = told.replace(str(asker.user), "SOMEBODY")
    return told


@pytest.mark.parametrize("uri", [each.uri for each in RESOURCES] + [each.uri_template for each in TEMPLATES])
@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe"])
async def test_a_resource_tells_nothing_of_another_asker(uri: str, method: str, bridge: Bridge, things: Things) -> None:
    ids = {"query": "query_id", "session": "session_id", "batch": "batch_id"}
    name = ids[uri.split("/")[2]] if "{id}" in uri else None
    for mine, theirs in zip(strangers(), strangers(), strict=True):
        never = nothing()
        told = []
        for asker, which in ((mine, things), (theirs, never)):
            address = uri.replace("{id}", getattr(which, name)) if name else uri
            told.append(plainly(str(await bridge.ask(asker, method, {"uri": address})), mine, theirs))
        assert_the_same(told, things, never, saying=(mine, uri))


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
async def test_a_prompt_tells_nothing_of_another_asker(prompt: Any, bridge: Bridge, things: Things) -> None:
    for mine, theirs in zip(strangers(), strangers(), strict=True):
        never = nothing()
        told = [
            str(await bridge.ask(asker, "prompts/get", {"name": prompt.name, "arguments": given}))
            for asker, which in ((mine, things), (theirs, never))
            for given in [arguments_of({prompt.argument: True}, which)]
        ]
        assert_the_same(told, things, never, saying=(mine, prompt.name))


async def test_a_request_about_a_task_tells_nothing_of_another_asker(bridge: Bridge, things: Things) -> None:
    server = build_server(McpBridge(bridge.house.settings, changes=True, tools="all"))
    methods = set(server._request_handlers) - OF_THE_PROTOCOL - ELSEWHERE
    assert methods == {"tasks/get", "tasks/cancel", "tasks/update", "tasks/result"}
    for method in sorted(methods):
        for thing in ("query_id", "batch_id"):
            for mine, theirs in zip(strangers(), strangers(), strict=True):
                never = nothing()
                more: dict[str, Any] = {"inputResponses": {}} if method == "tasks/update" else {}
                told = [
                    str(await bridge.ask(asker, method, {"taskId": getattr(which, thing), **more}))
                    for asker, which in ((mine, things), (theirs, never))
                ]
                assert_the_same(told, things, never, saying=(mine, method))
    await untouched(bridge.house, things)


# Commands


OF_AN_OWNER = {words: command for words, command in commands() if words[0] not in OF_THE_OPERATOR}


def test_every_command_is_an_owners_or_the_operators() -> None:
    for words, command in commands():
        named = {each.name for each in command.params}
        assert ("owner" in named) == (words in OF_AN_OWNER) or words == ("forget",), words
    assert {*COMMANDS, "forget"} >= OF_THE_OPERATOR


@pytest.mark.parametrize("words", [each for each in OF_AN_OWNER if each[0] != "profiles" or each[1] == "use"])
def test_a_command_finds_nothing_of_another_asker(
    words: tuple[str, ...],
    house: BridgeHouse,
    things: Things,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in house.env.items():
        monkeypatch.setenv(name, value)
    command = OF_AN_OWNER[words]
    # `resume` without a query's id is the operator's: it lets a held flow or domain go on.
    others = ("owner", "user", *(("flow", "domain") if words == ("resume",) else ()))
    names = {each.name: each.required for each in command.params if each.name not in others}
    for number in range(len(list(ways(names, things)))):
        for mine, theirs in zip(strangers(), strangers(), strict=True):
            never = nothing()
            told = []
            for asker, which in ((mine, things), (theirs, never)):
                given = list(ways(names, which))[number]
                line = [*words, *line_of(command, given), "--owner", asker.owner, "--user", str(asker.user)]
                told.append(plainly(run_command(line, monkeypatch, capsys), mine, theirs))
            assert_the_same(told, things, never, saying=line)


def line_of(command: Any, given: dict[str, Any]) -> Iterator[str]:
    for each in command.params:
        if each.name in given and given[each.name] is not None and each.name not in ("config", "text", "wait"):
            if each.param_type_name == "option":
                yield each.opts[0]
            if not getattr(each, "is_flag", False):
                yield str(given[each.name])


async def test_a_stream_tells_nothing_of_another_asker(bridge: Bridge, things: Things) -> None:
    for mine, theirs in zip(strangers(), strangers(), strict=True):
        never = nothing()
        told = []
        for asker, which in ((mine, things), (theirs, never)):
            followed = {
                "taskIds": [which.query_id, which.batch_id],
                "resourceSubscriptions": [f"flowise://session/{which.session_id}"],
            }
            told.append(str(await bridge.first_of(asker, "subscriptions/listen", {"notifications": followed})))
        assert_the_same(told, things, never, saying=mine)


# Names


async def test_a_program_cannot_ask_for_another_owner(house: BridgeHouse, things: Things) -> None:
    async with AsyncProducer(house.settings, owner="rival") as producer:
        forged: dict[str, Any] = {"owner": ANN.owner, "user": ANN.user}
        submission = await producer.submit("Whose is this?", session_id=things.session_id, **forged)
        record = await producer.status(submission.query_id)
        await producer.wait(submission.query_id, 30)

    assert record.asker == Asker("rival", "ann")
    await untouched(house, things)


@pytest.mark.parametrize("name", ["two words", "a\u200bb", "x" * 201])
async def test_a_name_that_is_none_is_refused_by_the_bridge(name: str, bridge: Bridge) -> None:
    told = await bridge.ask(Asker("shop", name), "ping", {})

    assert told["error"]["data"]["error_type"] == "InvalidQuery"
    assert OWNERS["shop"] not in str(told)
