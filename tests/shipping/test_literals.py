"""Keys, states, reasons, events and stages have one place: ``wire`` and ``models``."""

from __future__ import annotations

import ast

import pytest
from shipping.literals import compared, names_of_keys
from shipping.source_tree import modules_of

from agentic_flywheel.broker import wire
from agentic_flywheel.models import EventKind, State, WaitReason
from agentic_flywheel.wait_words import WAIT_WORDS

#: The modules in which these names stand, and those that are made of them.
HOME = {"wire", "scripts", "transport_scripts"}
MODULES = [
    each
    for each in modules_of(["agentic_flywheel", "workers", "producer", "mcp_bridge"])
    if each.name not in {f"agentic_flywheel.broker.{name}" for name in HOME}
]
#: The beginnings of all keys, queues and channels, but for those that other literals begin with too.
STARTS = (wire.PREFIX, wire.result_key.start, wire.domain_queue.start, wire.RENEWAL, wire.CONTINUATION)
VALUES = {*State, *WaitReason, *EventKind, *wire.QueryStage}
#: Where one of these words means something else, and what.
OTHER_WORDS = {
    ("agentic_flywheel.broker.records", "routed"): "a field of a record",
    ("agentic_flywheel.broker.records", "started"): "a field of a record",
    ("agentic_flywheel.backends.flowise.streamed", "token"): "an event of Flowise",
    ("agentic_flywheel.backends.http.failure", "retry"): "what the registry says of a status",
    ("agentic_flywheel.backends.http.reading", "answer"): "what the registry says of a status",
    ("agentic_flywheel.broker.versions", "version"): "a field of a server's greeting",
    ("agentic_flywheel.registry.http_flow", "answer"): "a key of the registry",
    ("agentic_flywheel.registry.http_flow", "usage"): "a key of the registry",
    ("agentic_flywheel.registry.entry", "concurrency"): "a key of the registry",
    ("agentic_flywheel.registry.entry", "answer"): "a key of the registry",
    ("agentic_flywheel.registry.entry", "rate"): "a key of the registry",
    ("agentic_flywheel.registry.servers", "concurrency"): "a key of the registry",
    ("agentic_flywheel.routing.signals", "session"): "what a route is decided by",
    ("workers.delivery", "retry"): "what is decided after a failure",
    ("workers.journal", "failed"): "a reply of a script",
    ("workers.query_events", "expired"): "a field of Celery's event",
    ("producer.cli.commands", "usage"): "a command",
    ("producer.cli.commands", "waiting"): "a command",
    ("producer.cli.check", "failed"): "the result of a check",
    ("producer.cli.checkup", "failed"): "the result of a check",
    ("producer.cli.checkup_servers", "failed"): "the result of a check",
    ("producer.cli.doctor", "failed"): "the result of a check",
    ("producer.cli.lint", "registry"): "the kind of a finding",
    ("producer.replay.outcomes", "answer"): "the kind of an answer",
    ("producer.replay.said", "tool"): "the role of a message",
    ("producer.replay.shapes", "answer"): "a field of a question's line",
    ("mcp_bridge.budget", "answer"): "a field of a tool's result",
    ("mcp_bridge.following", "source"): "a field of an event",
    ("mcp_bridge.resources", "session"): "a part of a resource's address",
    ("mcp_bridge.query_tasks", "input_required"): "the status of an MCP task",
    ("mcp_bridge.task_shapes", "failed"): "the status of an MCP task",
    ("mcp_bridge.task_shapes", "input_required"): "the status of an MCP task",
    ("mcp_bridge.tasks", "input_required"): "the status of an MCP task",
}


def test_names_of_keys_stand_in_wire_alone() -> None:
    assert {each.name: found for each in MODULES if (found := list(names_of_keys(each.tree, STARTS)))} == {}


def test_states_reasons_events_and_stages_are_members_of_their_enumerations() -> None:
    found = {(each.name, word): line for each in MODULES for line, word in compared(each.tree, VALUES)}

    assert {
        f"{name}:{line}: {word!r}" for (name, word), line in found.items() if (name, word) not in OTHER_WORDS
    } == set()
    assert OTHER_WORDS.keys() - found.keys() == set()


def test_every_wait_reason_has_a_sentence_for_clients() -> None:
    assert WAIT_WORDS.keys() == set(WaitReason)


@pytest.mark.parametrize(
    "line",
    [
        "key = 'flywheel:query:' + id",
        "key = f'flywheel:query:{id}'",
        "call('GET', f'domain.{name}')",
        "key = PREFIX + 'other:' + id",
        "key = wire.PREFIX + 'other:'",
        "key = f'{PREFIX}other:{id}'",
        "key = f'{wire.PREFIX}other:'",
        "key = '{}other:'.format(wire.PREFIX)",
    ],
)
def test_a_key_that_is_written_out_would_be_noticed(line: str) -> None:
    assert list(names_of_keys(ast.parse(line), STARTS))


@pytest.mark.parametrize(
    "line",
    [
        "record.state == 'failed'",
        "fields['state'] in ('failed', 'expired')",
        "fields.get('reason') != 'session'",
        "match event.kind:\n    case 'token' | 'final':\n        pass",
        "park(execution, reason='paused')",
        "'synthesize' == step.stage",
        "ended == 'succeeded'",
        "'expired' not in seen",
        "how in {'failed', other}",
        "how in frozenset(('failed', other))",
        "how == ('failed' if late else 'other')",
        "match how:\n    case 'cancelled':\n        pass",
        "match how:\n    case {'how': 'cancelled'}:\n        pass",
        "match how:\n    case [Some(how='cancelled' | 'other'), *_]:\n        pass",
        "COLOURS = {'failed': 'red', 'other': 'green'}",
        "colour = {'failed': 'red'}[how]",
        "colour = {'failed': 'red', 'other': 'green'}.get(how)",
        "def f():\n    colours = {'failed': 'red', 'expired': 'grey'}",
        "ENDED = frozenset({'failed', 'expired'})",
    ],
)
def test_a_value_that_is_written_out_would_be_noticed(line: str) -> None:
    assert list(compared(ast.parse(line), VALUES))


def test_other_words_are_no_fault() -> None:
    for line in ("'''flywheel:query: is a key.'''", "say('the flywheel: fast')", "f'{count} of flywheel:'"):
        assert not list(names_of_keys(ast.parse(line), STARTS)) or line.startswith("f")
    for line in (
        "record.state == State.FAILED",
        "event.kind == 'error'",
        "fields['failed'] == 0",
        "def f():\n    told = {'failed': 3, 'progress': 1}",
        "counts.get('failed', 0) > 0",
    ):
        assert list(compared(ast.parse(line), VALUES)) == []
