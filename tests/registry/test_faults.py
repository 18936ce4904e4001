"""A faulty registry is refused with the file, the line and the key; nothing is guessed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import check_registry, load_catalog, read_registry

from .conftest import GOOD, Write

FLOW = "operational_flows.poet"


def faults(path: Path) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.key, fault.reason) for fault in check_registry(path)]


def with_line(line: str) -> str:
    """The good registry with one line more in its first flow; it is line 6."""
    return GOOD.replace("    intent_keywords: [poem]\n", f"    intent_keywords: [poem]\n    {line}\n")


def test_a_key_and_a_login_in_the_servers_address_exclude_each_other(write: Write) -> None:
    both = write(with_line("server: https://me:pw@flows.example\n    api_key_env: OTHER_KEY"))

    ((line, key, reason),) = faults(both)

    assert (line, key) == (7, f"{FLOW}.api_key_env")
    assert "`server` holds a user and a password" in reason
    assert "pw" not in reason


@pytest.mark.parametrize(
    "line",
    ["domain: *{}", "domain: !{} a", "server: {}", "fallback: {}", "api_key_env: {}", "backend: {}", "? {}\n    : 1"],
)
def test_what_is_wrong_is_not_told_back_whole(write: Write, line: str) -> None:
    reading = read_registry(write(with_line(line.format("N" * 50_000))))

    told = [*reading.faults, *reading.warnings]
    assert all(len(str(each)) < 1_000 for each in told)
    assert told or "?" in line


def test_a_good_registry_has_no_fault(registry: Path) -> None:
    assert check_registry(registry) == []
    assert read_registry(registry).warnings == ()


@pytest.mark.parametrize(
    ("line", "key", "meant"),
    [
        ("ttl: soon", "ttl", "a duration above zero"),
        ("ttl: 0", "ttl", "cache: off"),
        ("ttl: -5", "ttl", "a duration above zero"),
        ("ttl: 99999999999999999999d", "ttl", "a duration above zero"),
        ("ttl: .inf", "ttl", "a duration above zero"),
        ("ttl: .nan", "ttl", "a duration above zero"),
        ("ttl: true", "ttl", "a duration above zero"),
        ("timeout: 0s", "timeout", "a duration above zero"),
        ("stale_while_revalidate: often", "stale_while_revalidate", "a duration"),
        ("failure_ttl: [1]", "failure_ttl", "a duration"),
        ("rate: 0", "rate", "calls per second above zero"),
        ("rate: 10/fortnight", "rate", "10/s, 60/m, 1000/h"),
        ("rate: .inf", "rate", "calls per second above zero"),
        ("rate: true", "rate", "calls per second above zero"),
        ("concurrency: 0", "concurrency", "a whole number of at least 1"),
        ("concurrency: 1.5", "concurrency", "a whole number of at least 1"),
        ("concurrency: true", "concurrency", "a whole number of at least 1"),
        ("attempts: 21", "attempts", "from 1 to 20"),
        ("cache: sometimes", "cache", "shared, owner or off"),
        ("cache: [shared]", "cache", "shared, owner or off"),
        ("match: fuzzy", "match", "exact or loose"),
        ("idle_timeout: 0", "idle_timeout", "a duration above zero"),
        ("history_turns: true", "history_turns", "a whole number from 1 to 1000"),
        ("history_chars: 10", "history_chars", "a whole number from 100"),
        ("active: maybe", "active", "true or false"),
        ("streaming: 7", "streaming", "true or false"),
        ("memory: elephant", "memory", "flowise, history or none"),
        ("injection: sql", "injection", "prepend, system or vars"),
        ("api_key_env: sk-secret-0123", "api_key_env", "the NAME of an environment variable"),
        ("server: ftp://files", "server", "http:// or https://"),
        ("config: loud", "config", "overrideConfig"),
        ("config: [1, 2]", "config", "overrideConfig"),
        ("config: {temperature: .nan}", "config.temperature", "a finite number"),
        ("config: {stop: [1, .inf]}", "config.stop[1]", "a finite number"),
        ("description: [a]", "description", "text"),
        ("examples: one", "examples", "a list"),
        ("examples: ['']", "examples[0]", "not empty"),
        ("examples: [yes, '  ']", "examples[1]", "not empty"),
        ("examples: [null]", "examples[0]", "not empty"),
        ("topics: [a]", "topics", "a mapping of topic names"),
        ("topics: {verse: a poem}", "topics.verse", "lists of example questions"),
        ("topics: {verse: [a, {b: c}]}", "topics.verse[1]", "lists of example questions"),
        ("topics: {'': [a]}", "topics.", "a mapping of topic names"),
        ("fallback: nobody", "fallback", "names the flow 'nobody', which does not exist"),
        ("fallback: codr", "fallback", "did you mean 'coder'?"),
        ("fallback: poet", "fallback", "goes round in a circle: poet → poet"),
        ("fallback: !!python/name:os.system x", "fallback", "a tag that a registry does not know"),
        ("domain: creative", "domain", "is given twice, first in line 4"),
    ],
)
def test_a_faulty_value_is_named_with_its_line_and_what_it_should_be(
    write: Write, line: str, key: str, meant: str
) -> None:
    path = write(with_line(line))

    first = check_registry(path)[0]

    assert (first.path, first.line, first.key) == (str(path), 6, f"{FLOW}.{key}")
    assert meant in first.reason


def test_the_first_fault_is_raised_and_its_message_can_be_clicked_on(write: Write) -> None:
    path = write(with_line("ttl: soon") + "  max_targets: 99\n")

    with pytest.raises(InvalidRegistry) as refused:
        load_catalog(path)

    assert f"{path}:6: {FLOW}.ttl: should be a duration" in str(refused.value)
    assert len(refused.value.recovery_suggestions) >= 3


def test_every_fault_is_told_at_once_by_line(write: Write) -> None:
    path = write("""\
        operational_flows:
          poet:
            id: poet-1
            ttl: soon
            memory: elephant
          nameless:
            domain: creative
          loose: 3
        intent_classification:
          fallback_flow: nobody
          max_targets: 0
    """)

    assert [(line, key) for line, key, _ in faults(path)] == [
        (4, "operational_flows.poet.ttl"),
        (5, "operational_flows.poet.memory"),
        (6, "operational_flows.nameless.id"),
        (8, "operational_flows.loose"),
        (11, "intent_classification.max_targets"),
    ]


@pytest.mark.parametrize("value", ["a/b", "../poet", "a b", "'a?b=c'", "''", "12345", "-x", "x" * 129])
def test_an_id_that_is_not_safe_in_an_address_is_refused(write: Write, value: str) -> None:
    (fault,) = check_registry(write(GOOD.replace("id: poet-1", f"id: {value}")))

    assert (fault.line, fault.key) == (3, f"{FLOW}.id")
    assert "uuid" in fault.reason


def test_a_flow_without_an_id_is_refused_in_the_line_of_its_key(write: Write) -> None:
    (fault,) = check_registry(write(GOOD.replace("    id: coder-1\n", "")))

    assert (fault.line, fault.key) == (6, "operational_flows.coder.id")
    assert fault.reason.startswith("is missing")


def test_a_key_that_cannot_be_a_name_is_refused(write: Write) -> None:
    (fault,) = check_registry(write(GOOD.replace("  coder:", "  my coder:")))

    assert (fault.line, fault.key) == (6, "operational_flows.my coder")


def test_a_secret_in_a_faulty_value_is_not_repeated(write: Write) -> None:
    told = faults(write(with_line("api_key_env: sk-secret-0123")))

    assert "sk-secret" not in str(told)


@pytest.mark.parametrize(
    ("line", "key", "meant"),
    [
        ("fallback_flow: nobody", "fallback_flow", "does not exist"),
        ("fallback_flow: [a]", "fallback_flow", "the key of an active flow"),
        ("synthesis_flow: nobody", "synthesis_flow", "does not exist"),
        ("side_calls: nobody", "side_calls", "does not exist"),
        ("side_calls: [a]", "side_calls", "the key of an active flow"),
        ("confidence_threshold: 1.5", "confidence_threshold", "a number from 0 to 1"),
        ("bands: 3", "bands", "lower bounds"),
        ("bands: {high: 7}", "bands.high", "a number from 0 to 1"),
        ("bands: {high: 0.3, medium: 0.6}", "bands.medium", "should not be above `high` (0.3)"),
        ("multi_flow_threshold: -1", "multi_flow_threshold", "a number from 0 to 1"),
        ("multi_flow_threshold: true", "multi_flow_threshold", "a number from 0 to 1"),
        ("max_targets: 9", "max_targets", "from 1 to 8"),
        ("on_medium: ask", "on_medium", "best or best_two"),
        ("on_low: ask", "on_low", "default or clarify"),
        ("scoring_weights: {keyword: heavy}", "scoring_weights.keyword", "signals to numbers"),
        ("scoring_weights: {keyword: .nan}", "scoring_weights.keyword", "signals to numbers"),
    ],
)
def test_a_faulty_policy_is_named_with_its_line(write: Write, line: str, key: str, meant: str) -> None:
    path = write(GOOD.replace("  fallback_flow: poet\n", f"  {line}\n"))

    (fault,) = check_registry(path)

    assert (fault.line, fault.key) == (11, f"intent_classification.{key}")
    assert meant in fault.reason


def test_a_policy_that_is_no_mapping_is_refused(write: Write) -> None:
    assert faults(write(GOOD.replace("\n  fallback_flow: poet", " poet"))) == [
        (10, "intent_classification", "should be a mapping")
    ]


def test_a_key_that_a_merged_mapping_has_too_is_named_in_its_own_line(write: Write) -> None:
    path = write("""\
        defaults: &defaults
          ttl: 1d
        operational_flows:
          poet:
            ttl: soon
            id: poet
            <<: *defaults
    """)

    assert [each[:2] for each in faults(path)] == [(5, "operational_flows.poet.ttl")]


def test_a_key_that_is_no_text_is_refused(write: Write) -> None:
    assert (12, "(file)", "a key should be plain text") in faults(write(GOOD + "? [a, b]\n: 1\n"))


def test_a_reference_to_a_flow_that_is_not_active_is_refused(write: Write) -> None:
    path = write(
        GOOD.replace("    id: coder-1\n", "    id: coder-1\n    active: false\n").replace(
            "    id: poet-1\n", "    id: poet-1\n    fallback: coder\n"
        )
    )

    assert faults(path) == [(4, f"{FLOW}.fallback", "names the flow 'coder', which is not active")]


def test_a_circle_of_fallbacks_is_told_once_where_it_begins(write: Write) -> None:
    path = write("""\
        operational_flows:
          lead-in: {id: l, fallback: b}
          a: {id: a, fallback: b}
          b: {id: b, fallback: c}
          c: {id: c, fallback: a}
          d: {id: d, fallback: a}
    """)

    assert faults(path) == [(3, "operational_flows.a.fallback", "goes round in a circle: a → b → c → a")]


def test_a_registry_needs_a_flow_that_takes_questions(write: Write) -> None:
    reason = "needs at least one active flow that questions can go to"

    assert faults(write("metadata: {}\n")) == [(1, "operational_flows", reason)]
    assert faults(write("x: 1\noperational_flows:\n  a: {id: a, active: false}\n")) == [
        (2, "operational_flows", reason)
    ]
    only_synthesis = "operational_flows:\n  a: {id: a}\nintent_classification: {synthesis_flow: a}\n"
    assert faults(write(only_synthesis)) == [(1, "operational_flows", reason)]
    assert faults(write(only_synthesis.replace("synthesis_flow", "side_calls"))) == [(1, "operational_flows", reason)]


@pytest.mark.parametrize(("key", "task"), [("synthesis_flow", "synthesis flow"), ("side_calls", "flow for side calls")])
def test_the_fallback_flow_cannot_be_a_flow_with_a_task_of_its_own(write: Write, key: str, task: str) -> None:
    path = write(GOOD + f"  {key}: poet\n")

    assert faults(path) == [(11, "intent_classification.fallback_flow", f"is the {task}, which takes no questions")]


def test_two_active_flows_of_one_key_are_refused(write: Write) -> None:
    path = write(GOOD + "routing_flows:\n  coder:\n    id: other\n")

    assert faults(path) == [(13, "routing_flows.coder", "is given twice, first in line 6")]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "should be a mapping"),
        ("- a\n- b\n", 1, "should be a mapping"),
        ("just words\n", 1, "should be a mapping"),
        ("a: 1\nb: [1\nc: 2\n", 3, "is not YAML"),
        ("a: 1\nb: *nobody\n", 2, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\n\tb: 2\n", 2, "is not YAML"),
        ("a: \x01\n", 1, "is not YAML"),
        ("%YAML 1.3\n---\na: 1\n", 1, "is not YAML"),
        ("[" * 600, 1, "nested too deeply"),
    ],
)
def test_a_text_that_is_no_registry_is_refused(write: Write, text: str, line: int, reason: str) -> None:
    (fault,) = check_registry(write(text))

    assert (fault.line, fault.key) == (line, "(file)")
    assert reason in fault.reason


def test_a_section_that_is_no_section_is_refused(write: Write) -> None:
    assert [each[:2] for each in faults(write("operational_flows: all of them\nrouting_flows: [5]\n"))][:2] == [
        (1, "operational_flows"),
        (1, "operational_flows"),
    ]
    assert (1, "operational_flows[0]", "a flow in a list needs a `key` or a `name`") in faults(
        write("operational_flows: [{id: a}]\n")
    )


def test_a_file_that_is_not_utf8_is_refused_in_the_line_of_the_odd_byte(tmp_path: Path) -> None:
    path = tmp_path / "flows.yaml"
    path.write_bytes(b"operational_flows:\n  caf\xe9: {id: a}\n")

    assert faults(path) == [(2, "(file)", "is not UTF-8; save it as UTF-8")]


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "flows.yaml"
    path.write_bytes(b"#" * 5_000_001)

    assert faults(path) == [(1, "(file)", "is too large: a registry has at most 5000000 bytes")]


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path)[0][2].startswith("cannot be read")
    assert faults(tmp_path / "none.yaml") == [(1, "(file)", "cannot be read: No such file or directory")]


def test_aliases_of_aliases_are_refused_at_once(write: Write) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    began = time.monotonic()

    (fault,) = check_registry(write(f"l0: &l0 [lol]\n{levels}{GOOD}"))

    assert "by its aliases" in fault.reason
    assert time.monotonic() - began < 60  # written out it would be thirty thousand million values


def test_a_value_that_contains_itself_is_refused(write: Write) -> None:
    (fault,) = check_registry(write(f"a: &a [*a]\n{GOOD}"))

    assert "by its aliases" in fault.reason


def test_a_tag_is_never_evaluated(write: Write, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = write(f"metadata: !!python/object/apply:os.mkdir ['{trap}']\n{GOOD}")

    check_registry(path)

    assert not trap.exists()


def test_a_form_without_names_or_of_unknown_types_is_refused(write: Write) -> None:
    path = write("""\
        operational_flows:
          expenses:
            id: a
            form: [{name: amount, type: money}, {name: kind, options: [yes, 1]}, {}]
    """)

    assert {(each.line, each.key.partition("form")[2]) for each in check_registry(path)} == {
        (4, "[0].type"),
        (4, "[2].name"),
    }


def test_what_cannot_go_together_with_a_form_is_refused(write: Write) -> None:
    path = write("""\
        operational_flows:
          expenses:
            id: a
            form: [{name: amount}, {name: amount}]
            fallback: general
          general:
            id: b
            fallback: expenses
        intent_classification:
          fallback_flow: expenses
    """)

    told = [f"{each.key}: {each.reason}" for each in check_registry(path)]

    assert [each for each in told if "circle" not in each] == [
        "operational_flows.expenses.form: has two fields of one name",
        "operational_flows.expenses.fallback: names the flow 'general', which does not begin with this form",
        "operational_flows.general.fallback: names the flow 'expenses', which does not begin with this form",
        "intent_classification.fallback_flow: "
        "names the flow 'expenses', which begins with a form and takes no question",
    ]


def test_a_flow_with_a_form_takes_no_questions(write: Write) -> None:
    path = write("""\
        operational_flows:
          expenses:
            id: a
            form: [{name: amount, type: number, required: no}, {name: kind, options: [yes, 1]}]
    """)

    (only,) = check_registry(path)

    assert "active flow that questions can go to" in only.reason


def test_what_was_hardly_meant_is_remarked_on_but_accepted(write: Write) -> None:
    path = write("""\
        operational_flows:
          poet:
            id: same
            domain: creative
            exampels: [a verse please]
          singer:
            id: same
            intent_keyword: [song]
            server: https://elsewhere.example
          bard:
            id: same
            description: Sings
        archived_flows:
          bard:
            id: old
        intent_classification:
          multi_flow_treshold: 0.5
    """)

    reading = read_registry(path)

    assert reading.catalog is not None
    assert reading.catalog.flows["bard"].id == "same"
    nothing = "has no topics, examples, keywords or description: only its name can route a question here"
    assert [str(each) for each in reading.warnings] == [
        f"line 2: operational_flows.poet: {nothing}",
        "line 5: operational_flows.poet.exampels: is not a key that is read; did you mean `examples`?",
        f"line 6: operational_flows.singer: {nothing}",
        "line 8: operational_flows.singer.intent_keyword: is not a key that is read; did you mean `intent_keywords`?",
        "line 11: operational_flows.bard.id: is the id of the flow 'poet' too",
        "line 14: archived_flows.bard: is here and in line 10: the active one counts",
        "line 17: intent_classification.multi_flow_treshold: is not a key that is read; "
        "did you mean `multi_flow_threshold`?",
    ]


def test_side_calls_cannot_go_to_a_flow_with_a_form(write: Write) -> None:
    path = write("""\
        operational_flows:
          expenses:
            id: a
            form: [{name: amount}]
          general:
            id: b
        intent_classification:
          side_calls: expenses
    """)

    (fault,) = check_registry(path)

    assert (fault.line, fault.key) == (8, "intent_classification.side_calls")
    assert "begins with a form" in fault.reason
