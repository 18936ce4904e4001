"""What to do next is said in the words of where an error is read, and whatever is named there exists."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import typer.main

from agentic_flywheel import errors
from agentic_flywheel.errors import ErrorInfo, FlywheelError
from agentic_flywheel.errors.wording import DEEDS, FOR_OPERATOR, Wording
from agentic_flywheel.settings import Settings
from gateway.test_statuses import all_errors
from http_gateway.app import build_app
from http_gateway.gateway import Gateway
from http_gateway.problems import STATUSES, problem_of
from mcp_bridge.discretion import outward
from mcp_bridge.failure import failure_result, told_error
from mcp_bridge.toolsets import ALL_TOOLS
from producer import Producer
from producer.cli.root import app

QUERY = "0" * 32
_VALUES: dict[str, Any] = {"str": "x", "float": 1.0, "int": 1, "bool": True}


def of_each_value(kind: type[FlywheelError]) -> Iterator[FlywheelError]:
    """Yield an error of a class, and one of it for each field that decides what is suggested."""
    values = {each.name: _VALUES.get(str(each.type).partition("[")[0], ["x"]) for each in fields(kind)}
    values |= {"query_id": QUERY} if "query_id" in values else {}
    yield kind(**values)
    for name, given in (("stop", 3), ("backend", "flowise"), ("field_name", "form"), ("field_name", "config.x")):
        if name in values:
            yield kind(**{**values, name: given})


def over_http(error: FlywheelError) -> ErrorInfo:
    return ErrorInfo.model_validate(problem_of(outward(error), 400)["error"])


def over_mcp(error: FlywheelError) -> ErrorInfo:
    return ErrorInfo.model_validate(told_error(failure_result(error)))


@pytest.mark.parametrize("told", [over_http, over_mcp])
@pytest.mark.parametrize("name", sorted(STATUSES))
def test_no_command_is_told_but_to_whoever_runs_the_queue(name: str, told: Any) -> None:
    for error in of_each_value(getattr(errors, name)):
        info = told(error)

        assert "flywheel " not in info.error
        for each in info.recovery_suggestions:
            assert not re.search(r"flywheel [a-z-]", each) or each.startswith(FOR_OPERATOR) or "whoever" in each, each
        # What the reader can do comes first, and telling it once more changes nothing.
        addressed = [each.startswith(FOR_OPERATOR) for each in info.recovery_suggestions]
        assert addressed == sorted(addressed)
        assert not all(addressed)
        assert len(info.recovery_suggestions) >= 3
        assert told(info).recovery_suggestions[-3:] == info.recovery_suggestions[-3:]


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_in_python_calls_are_named_where_there_are_such(name: str) -> None:
    for error in of_each_value(getattr(errors, name)):
        for command, call in zip(error.describe().recovery_suggestions, error.recovery_suggestions, strict=True):
            for deed in DEEDS:
                if deed.python and "<" not in deed.command and f"`{deed.command}`" in command:
                    assert f"`{deed.python}`" in call


def test_what_is_copied_from_a_suggestion_names_the_query_and_the_stop() -> None:
    asked = errors.InputRequired(QUERY, 2, "f", "Delete it?")

    assert f"`flywheel resume {QUERY} --proceed --stop 2`" in asked.describe().recovery_suggestions[0]
    assert f'`producer.resume("{QUERY}", "proceed", stop=2)`' in asked.recovery_suggestions[0]
    sent = f'`POST /v1/queries/{QUERY}/resume {{"decision": "proceed", "stop": 2}}`'
    assert sent in over_http(asked).recovery_suggestions[0]
    called = f'`flowise_resume {{"query_id": "{QUERY}", "decision": "proceed", "stop": 2}}`'
    assert called in over_mcp(asked).recovery_suggestions[0]


def test_every_command_that_an_error_names_exists() -> None:
    root: Any = typer.main.get_command(app)
    named = {
        command
        for kind in all_errors()
        for error in of_each_value(kind)
        for each in error.describe().recovery_suggestions
        for command in re.findall(r"`flywheel ([^`]+)`", each)
    }
    assert len(named) > 20
    for command in named | {deed.command.removeprefix("flywheel ") for deed in DEEDS}:
        found = root
        for word in command.split():
            if not hasattr(found, "commands") or word.startswith("-"):
                break
            assert word in found.commands, command
            found = found.commands[word]


def test_every_call_in_the_table_exists(tmp_path: Any) -> None:
    gateway = Gateway(Settings(redis_url="redis://127.0.0.1:1/0", home=tmp_path), None)
    paths = build_app(gateway).openapi()["paths"]
    routes = {(method.upper(), re.sub(r"{\w+}", QUERY, path)) for path, methods in paths.items() for method in methods}
    tools = {tool.name: tool for tool in ALL_TOOLS}
    for deed in DEEDS:
        if deed.http and deed.http != "GET /openapi.json":
            method, path = deed.http.replace("<query_id>", QUERY).split()[:2]
            assert (method, path.partition("?")[0]) in routes, deed.http
        if deed.mcp and deed.mcp != "tools/list":
            name, _, arguments = deed.mcp.partition(" ")
            given = ast.literal_eval(arguments.replace("<query_id>", QUERY).replace("<stop>", "1") or "{}")
            tools[name].arguments.model_validate(given)
        if deed.python.startswith("producer."):
            call = ast.parse(deed.python.replace("<stop>", "1"), mode="eval").body
            if isinstance(call, ast.Call):
                assert isinstance(call.func, ast.Attribute)
                method_of = getattr(Producer, call.func.attr)
                keywords = {each.arg: None for each in call.keywords if each.arg}
                inspect.signature(method_of).bind(None, *call.args, **keywords)


def test_every_deed_can_be_done_somewhere_else() -> None:
    for deed in DEEDS:
        assert any(deed.worded(each) for each in Wording), deed.command
