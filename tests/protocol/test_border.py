"""The border to Redis: what a script's head declares is what its body does and what Python knows of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY
from redis.asyncio import Redis
from tracing.lua import put_record, run_lua

from agentic_flywheel.broker import assembly, declaration, generate, parcels, scripts, wire, wrappers
from agentic_flywheel.broker.assembly import InvalidDeclaration, assembled, lua_text
from agentic_flywheel.broker.declaration import Script, UndeclaredReply, UnexpectedReply, scripts_in
from agentic_flywheel.broker.lifecycle import STEPS, Step
from agentic_flywheel.models import TOLD_BY_FLOW, EventKind, State, WaitReason
from protocol.lua_names import joined_into_json, undeclared

LUA = wrappers.PACKAGE / "lua"
SCRIPTS = [script for folder in wrappers.MODULES for script in scripts_in(folder)]
of_every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
SOURCES = sorted(LUA.rglob("*.lua"))
#: Ids that a plain Celery client may choose.
ODD_IDS = ('q"x', "a\\b", "a b", "ä\n", "{}")


def read_whole(name: str) -> str:
    script = Script(name)
    assert script.arguments is not None
    assert script.replies is not None
    return script.source


@of_every_script
def test_a_script_uses_every_argument_and_returns_every_reply_that_it_declares(script: Script) -> None:
    unused = [each.name for each in script.arguments if not re.search(rf"\b{each.name}\b", script.body)]

    assert unused == []
    assert set(re.findall(r"reply\.(\w+)\(", script.body)) == {reply.name for reply in script.replies}
    assert script.summary


@of_every_script
def test_a_script_returns_nothing_but_declared_replies(script: Script) -> None:
    own_functions = r"^( *)(?:local )?function [^\n]* end$|^( *)(?:local )?function .*?^\2end$"
    body = re.sub(own_functions, "", script.body, flags=re.MULTILINE | re.DOTALL)

    assert re.findall(r"\breturn\b(?! reply\.\w+\().*", body) == []
    assert script.body.rstrip().splitlines()[-1].startswith("return reply.")


@of_every_script
def test_a_script_names_only_keys_states_and_steps_that_exist(script: Script) -> None:
    assert script.source  # raises InvalidDeclaration for any other name


@of_every_script
def test_a_script_uses_no_name_that_nothing_declares(script: Script) -> None:
    assert list(undeclared(script.source)) == []


@pytest.mark.parametrize(
    ("path", "right", "wrong", "found"),
    [
        ("stumble", "local key = ", "key = ", "sets key"),
        ("shared/followers", "flight_key(front)", "flight_key(frent)", "reads frent"),
        ("come_back", "-- delay_ms: whole\n", "", "reads delay_ms"),
    ],
)
def test_a_misspelt_name_in_a_script_would_be_noticed(
    path: str, right: str, wrong: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = lua_text
    assert right in read(path)
    planted = {path: read(path).replace(right, wrong)}
    for module in (assembly, declaration):
        monkeypatch.setattr(module, "lua_text", lambda name: planted.get(name) or read(name))
    monkeypatch.setattr(assembly, "_shared", assembly._shared.__wrapped__)

    uses = [use for script in SCRIPTS for use in undeclared(Script(script.path).source)]

    assert [use for use in uses if use.endswith(found)]
    assert {use.split()[-1] for use in uses} == {found.split()[-1]}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("local key = key", ["line 1 reads key"]),
        ("for at, it in pairs({}) do local one = at .. it end\nreturn one", ["line 2 reads one"]),
        ("function lost() end", ["line 1 sets lost"]),
        ("redis, cjson.null = 1, 2", ["line 1 sets redis"]),
        ("local function f(a, ...) return f(a, b) end", ["line 1 reads b"]),
        ("repeat local done = 1 until done", []),
        ("local it = {name = 1, ['x'] = 2}\nfunction it.f(self) return self:name() end\nreturn it.name", []),
        ("local at\nat = 1\nif at then return function(x) return x, at end end", []),
    ],
)
def test_names_are_read_as_lua_reads_them(code: str, found: list[str]) -> None:
    assert list(undeclared(code)) == found


def test_what_is_no_lua_is_refused() -> None:
    with pytest.raises(ValueError, match="no Lua"):
        list(undeclared("local = 1"))


@pytest.mark.parametrize("text", ["'say OPEN and MELTED'", '"say OPEN and MELTED"', r"'it\'s OPEN and MELTED'"])
def test_a_text_in_a_script_stays_as_it_is_written(text: str) -> None:
    assert f"return {text}" in assembled("test", f"return {text}  -- MELTED isn't OPEN")


def test_what_is_made_from_heads_and_table_is_current() -> None:
    """Where this fails: ``python -m agentic_flywheel.broker.generate``."""
    for folder, path in wrappers.MODULES.items():
        assert path.read_text() == wrappers.module(folder)
    assert generate.DOCUMENT.read_text() == generate.document(generate.DOCUMENT.read_text())


def test_a_document_whose_mark_is_missing_is_refused_instead_of_growing() -> None:
    with pytest.raises(InvalidDeclaration, match="scripts"):
        generate.document("# The engine\n")


#: The values that are joined with a text of JSON, by the file, each with why it cannot break out of it.
JOINED = {
    "examine": {"REDELIVERY_MARK": "a constant in a pattern, which makes no JSON"},
    "ending": {
        "status": "one of Celery's words",
        "result": "JSON that Python or cjson wrote",
        "cjson.encode(id)": "JSON",
        "state": "a state of ours",
        "outcome.answer": "JSON that Python wrote",
        "outcome.error": "JSON that Python wrote",
    },
    "fetch": {
        "raw": "a message as its sender wrote it; where it is no JSON, who reads the entry expects that",
        "cjson.encode(queue)": "JSON",
    },
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_value_becomes_part_of_json_only_where_it_is_known_what_it_is(path: Path) -> None:
    assert set(joined_into_json(path.read_text())) == JOINED.get(path.stem, {}).keys()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("""return '{"text":"' .. data .. '"}'""", ["data"]),
        ("""return f('{' .. (a or b) .. ':' .. c .. '}', d .. 'x')""", ["(a or b)", "c"]),
        ("""return "{\\"a\\":" .. x .. "}" """, ["x"]),
        ("return 'a' .. b", []),
    ],
)
def test_a_value_that_is_joined_into_json_would_be_noticed(code: str, found: list[str]) -> None:
    assert list(joined_into_json(code)) == found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_lua_has_states_reasons_events_and_keys_from_python_alone(path: Path) -> None:
    text = re.sub(r"--.*", "", path.read_text())

    assert not re.search(r"'HSET'.*'(state|reason)'", text), "a state is set by a STEP of the table"
    assert not re.search(r"\bemit\([^,]+, '", text), "EVENT. has the names"
    assert not re.search(rf"= '({'|'.join(WaitReason)})'", text), "REASON. has the names"
    assert not re.search(r"'(flywheel|unacked)", text), "wire has the names of keys"
    assert not re.search(rf"[=~]= '({'|'.join([*State, *EventKind])})'", text), "STATE. and EVENT. have the names"
    assert not re.search(rf"return '({'|'.join(WaitReason)})'", text), "REASON. has the names"
    assert not re.search(r"(policy|heard|stage|priority|rank|fence) *[=~]= '\w", text), "POLICY., STAGE. ... have them"
    assert not re.search(r"'stage', '", text), "STAGE. has the names"
    assert not re.search(r"'(flow|domain|~\w*[.:]?)[:.]?' \.\.", text), "wire has members and marks"
    assert not re.search(r"'(cached|fallen_back)'|\b(and|or) 'attached'", text), "HOW. has the names"
    assert not re.search(r"'(up|down)'", text), "HEARD. has the names"
    assert not re.search(r"reply\..*, '0'\)|fence *[=~]= '0'", text), "wire has NO_FENCE"
    assert wire.PREFIX not in text
    assert "celery-task-meta" not in text
    assert "ARGV" not in text, "arguments are declared in the head"


def test_no_source_names_an_argument_of_a_script_by_its_position() -> None:
    sources = [
        path for package in ("agentic_flywheel", "workers", "producer") for path in (REPOSITORY / package).rglob("*")
    ]

    assert [path for path in sources if path.suffix in (".py", ".lua") and "ARGV[" in path.read_text()] == []


def test_every_step_of_the_table_is_taken_by_a_script_and_writes_its_event() -> None:
    text = "".join(path.read_text() for path in SOURCES)

    assert set(re.findall(r"STEP\.(\w+)", text)) == {step.name for step in STEPS}
    assert {kind.name.lower() for kind in set(EventKind) - TOLD_BY_FLOW} == set(
        re.findall(r"emit\(\w+, EVENT\.(\w+)", text)
    )
    assert {step.event for step in STEPS if step.event} | TOLD_BY_FLOW == set(EventKind)
    assert {reason for step in STEPS for reason in step.reasons or ()} == set(WaitReason)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_who_takes_a_step_writes_its_event(step: Step) -> None:
    text = "\n\n".join(path.read_text() for path in SOURCES if path.parent.name == "shared")
    scripts_and_functions = [*re.split(r"\n{2,}(?=local function)", text), *(script.body for script in SCRIPTS)]

    takers = [each for each in scripts_and_functions if re.search(rf"STEP\.{step.name}\b", each)]

    assert takers
    if step.event:
        assert [each for each in takers if f"EVENT.{step.event}" not in each] == []


def test_every_reason_that_a_step_leaves_open_is_given_by_a_script() -> None:
    text = "".join(path.read_text() for path in SOURCES)
    chosen = {reason for step in STEPS if len(step.reasons or ()) > 1 for reason in step.reasons or ()}

    assert {reason.name.lower() for reason in chosen} == set(re.findall(r"REASON\.(\w+)", text))


@pytest.mark.parametrize(
    "code",
    [
        "redis.call('HSET', 'x', STEP.melted)",
        "redis.call('HSET', 'x', STEP.parked)",
        "return STATE.melted",
        "return REASON.weather",
        "return STAGE.lunch",
        "return POLICY.hope",
        "return PRIORITY.urgent",
        "return melted_key('x')",
        "return MELTED",
        "melt('x')",
        "seldom.melt('x')",
    ],
)
def test_a_name_that_is_not_in_the_table_is_a_fault_before_any_call(code: str) -> None:
    with pytest.raises(InvalidDeclaration):
        assembled("test", code)


def test_no_script_can_be_stopped_half_done_by_a_channel_that_its_user_may_not_use() -> None:
    """Scripts are not rolled back. What is published is news only: whoever waits looks by itself, too."""
    said = [line for source in SOURCES for line in source.read_text().splitlines() if "PUBLISH" in line]

    assert said
    assert [line for line in said if not line.startswith("local function publish(") or "pcall" not in line] == []


def test_functions_that_are_called_seldom_are_made_when_the_first_of_them_is_called() -> None:
    code = "publish('a', 'b') return seldom.split(seldom.publish('a', 'b'))"
    often, behind, rare = assembled("test", code).partition("function seldom()")

    assert behind
    assert "function publish(" in often
    assert "function split(" in rare
    assert "function split(" not in often
    assert "return seldom().split(publish('a', 'b'))" in rare


def test_what_a_key_is_made_of_is_read_as_one_value() -> None:
    assert "('flywheel:query:' .. (first or second))" in assembled("test", "return record_key(first or second)")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-- Does.\n--\n-- id: words\n--\n--> done\nreturn reply.done()\n", "unknown type"),
        ("-- Does.\n--\n-- ids: texts\n-- id: text\n--\n--> done\nreturn reply.done()\n", "lists come last"),
        ("-- Does.\nreturn 1\n", "no reply"),
        ("-- Does.\n--\n--> done\nreturn reply.lost()\n", "reply.lost"),
        ("-- Does.\n--\n-- all: entries\n-- id: text\n--\n--> done\nreturn reply.done()\n", "lists come last"),
        ("-- Does.\n--\n-- all: entries\n--\n--+ ack(tag: text)\n--\n--> done\nreturn reply.done()\n", "entries"),
        (
            "-- Does.\n--\n-- all: entries\n--\n--+ put(at: text, it: text)\n--\n--> done\n"
            "function entry.put(it, at) end\nreturn reply.done()\n",
            "its functions of entries",
        ),
        ("-- Does.\n--\n--> done(at: whole)\nreturn reply.done()\n", "0 fields"),
        ("-- Does.\n--\n--> done(at: day)\nreturn reply.done(1)\n", "unknown type"),
    ],
)
def test_a_head_that_does_not_fit_its_body_is_refused(text: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = lua_text
    monkeypatch.setattr(declaration, "lua_text", lambda name: text if name == "planted" else read(name))

    with pytest.raises(InvalidDeclaration, match=re.escape(fault)):
        read_whole("planted")


def test_a_reply_that_nobody_declared_is_a_fault() -> None:
    error = UndeclaredReply("defer", ["melted"])

    assert error.args == ("defer", ["melted"])


def test_a_declared_reply_that_a_call_cannot_get_says_why() -> None:
    error = UnexpectedReply("finish", scripts.FinishLate(), "there is no lease")

    assert str(error) == "finish replied FinishLate(), which cannot be: there is no lease"


def test_a_reply_that_a_caller_does_not_handle_fails_mypy(tmp_path: Path) -> None:
    caller = tmp_path / "caller.py"
    caller.write_text(
        "from typing import assert_never\n\n"
        "from agentic_flywheel.broker import scripts\n\n\n"
        "def read(reply: scripts.DeferReply) -> str:\n"
        "    match reply:\n"
        "        case scripts.DeferDeferred() | scripts.DeferGone():\n"
        '            return "waits"\n'
        "        case _:\n"
        "            assert_never(reply)\n"
    )

    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(caller)], cwd=REPOSITORY, capture_output=True, text=True
    )

    assert checked.returncode == 1
    assert 'incompatible type "DeferLate"; expected "Never"' in checked.stdout


@pytest.mark.parametrize("query_id", ODD_IDS)
def test_a_message_is_json_whatever_the_id(query_id: str) -> None:
    parcel = parcels.task_parcel(
        "t", query_id, query_id, "[]", queue="q", version=1, root_id=query_id, shown=f"({query_id})"
    )

    message = json.loads(parcel.message)
    assert message["properties"]["delivery_tag"] == parcel.tag
    assert message["headers"]["id"] == message["headers"]["root_id"] == message["headers"]["parent_id"] == query_id
    assert message["properties"]["correlation_id"] == query_id


@pytest.mark.parametrize("query_id", ODD_IDS)
@pytest.mark.parametrize("state", ["succeeded", "cancelled", "expired"])
async def test_a_result_is_json_whatever_the_id(query_id: str, state: str, redis_client: Redis) -> None:
    await put_record(redis_client, query_id, flow="a")

    code = "return finalise(ARGV[1], ARGV[2], {answer = '{\"text\":\"x\"}', reason = 'why'}, now_ms()) and 1 or 0"
    assert await run_lua(redis_client, code, query_id, state) == 1

    stored = json.loads(await redis_client.get(wire.result_key(query_id)) or "")
    assert stored["task_id"] == query_id


def test_a_reply_shows_what_it_says() -> None:
    assert repr(scripts.SubmitFull(3, 1)) == "SubmitFull(drained=1, length=3)"
    assert scripts.SubmitFull(3, 1) == scripts.SubmitFull(3, 1) != scripts.SubmitFull(3, 2)
    assert len({scripts.DeferLate(), scripts.DeferLate()}) == 1
