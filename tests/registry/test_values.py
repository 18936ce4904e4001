"""What YAML makes of a value, and what its author meant: as written, quoted, remarked on or refused, never changed."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from ruamel.yaml import YAML

from agentic_flywheel.profiles.reading import read_profile
from agentic_flywheel.registry import add_flow, check_registry, load_catalog, read_registry, update_flow
from agentic_flywheel.registry.entry import MEANING

from .conftest import GOOD, Write

FLOW = "operational_flows.poet"


def with_line(line: str) -> str:
    """The good registry with one line more in its first flow; it is line 6."""
    return GOOD.replace("    intent_keywords: [poem]\n", f"    intent_keywords: [poem]\n    {line}\n")


@pytest.mark.parametrize(
    "written",
    ["3.10", "01067", "007", "1_000", "0x1F", "0o17", "1e3", "12:30:45", "2024-01-01", "yes", "No", "ON", "1.0", ".5"],
)
def test_where_a_text_is_meant_it_is_the_one_that_was_written(write: Write, written: str) -> None:
    path = write(with_line(f"name: {written}\n    examples: [{written}, why?]\n    topics: {{{written}: [{written}]}}"))

    reading = read_registry(path)

    flow = reading.catalog_or_raise().flows["poet"]
    assert (flow.name, flow.examples[0], flow.topics) == (written, written, {written: (written,)})
    assert reading.warnings == ()


def test_a_key_or_a_domain_that_looks_like_a_number_is_as_it_was_written(write: Write) -> None:
    path = write("""\
        operational_flows:
        - key: 3.10
          id: a
          domain: 01067
          description: x
        - {key: 007, id: b, description: x, fallback: 3.10}
        intent_classification: {fallback_flow: 007}
    """)

    catalog = load_catalog(path)

    assert list(catalog.flows) == ["3.10", "007"]
    assert (catalog.flows["3.10"].domain, catalog.flows["007"].fallback, catalog.policy.fallback_flow) == (
        "01067",
        "3.10",
        "007",
    )


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("config: {version: 3.10}", "config.version", "3.10 is read as a number; in quotes it stays"),
        ("config: {postcode: 01067}", "config.postcode", "01067 is read as a number"),
        ("config: {mode: 0o755}", "config.mode", "0o755 is read as a number"),
        ("config: {colour: 0xFF}", "config.colour", "0xFF is read as a number"),
        ("config: {a: [{b: 1_000}]}", "config.a[0].b", "1_000 is read as a number"),
        ("config: {commit: 12e03}", "config.commit", "12e03 is read as a number"),
        ("ttl: 010", "ttl", "010 is read as a number"),
        ("name: null", "name", "null is nothing; in quotes it is the word"),
        ("description: Null", "description", "Null is nothing"),
        ("config: {memory: yes}", "config.memory", "yes is read as text; write true or false"),
        ("config: {memory: [Off]}", "config.memory[0]", "Off is read as text"),
    ],
)
def test_a_value_that_may_mean_something_else_is_remarked_on(write: Write, line: str, key: str, said: str) -> None:
    reading = read_registry(write(with_line(line)))

    assert reading.catalog is not None
    (remark,) = reading.warnings
    assert (remark.line, remark.key) == (6, f"{FLOW}.{key}")
    assert said in remark.text


@pytest.mark.parametrize(
    "line",
    [
        "config: {temperature: 0.70, topP: 1.0, tokens: 2000, penalty: -0.5, text: '3.10', truth: 'yes', on: true}",
        "ttl: 1.5",
        "name: 'null'",
        "description: ~",
        "mine: 3.10",
        "active: yes",
        "cache: off",
    ],
)
def test_a_value_that_can_mean_one_thing_only_is_not_remarked_on(write: Write, line: str) -> None:
    assert read_registry(write(with_line(line))).warnings == ()


def test_a_number_with_a_leading_zero_is_decimal_as_in_yaml_1_2(write: Write) -> None:
    config = load_catalog(write(with_line("config: {a: 01067, b: 0o17, c: 017, d: -08}"))).flows["poet"].config

    assert json.dumps(config) == '{"a": 1067, "b": 15, "c": 17, "d": -8}'


def test_a_folded_text_has_spaces_where_its_lines_were_and_nothing_else(write: Write) -> None:
    path = write(with_line("description: >-\n      one\n      two\n\n      three"))

    assert load_catalog(path).flows["poet"].description == "one two\nthree"


@pytest.mark.parametrize("text", ["a\\0b", "\\e[31mred", "\\ud800", "\\x85", "bell \\a"])
def test_a_character_that_cannot_be_shown_is_refused_with_its_line_and_key(write: Write, text: str) -> None:
    (fault,) = check_registry(write(with_line(f'name: "{text}"')))

    assert (fault.line, fault.key) == (6, f"{FLOW}.name")
    assert "U+" in fault.reason
    assert "at position" in fault.reason


def test_a_key_with_such_a_character_is_refused_and_not_repeated(write: Write) -> None:
    (fault,) = check_registry(write(with_line('config: {"a\\e[31m": 1}')))

    assert (fault.line, fault.key) == (6, f"{FLOW}.config")
    assert "\x1b" not in str(fault)


def test_names_and_questions_are_in_any_script(write: Write) -> None:
    name = "诗人 👩‍👩‍👧 شاعر‌ها कवि"
    path = write(with_line(f"name: {name}\n    topics: {{詩: [¿Puedes escribir?]}}"))

    flow = load_catalog(path).flows["poet"]

    assert (flow.title, flow.topics) == (name, {"詩": ("¿Puedes escribir?",)})


def test_a_key_in_another_script_is_refused_with_the_advice_to_name_it_so(write: Write) -> None:
    (fault,) = check_registry(write(GOOD.replace("  coder:", "  程序员:")))

    assert (fault.line, fault.key) == (6, "operational_flows.程序员")
    assert "`name` may be in any script" in fault.reason


def test_a_flow_of_a_list_and_a_group_with_names_of_another_script_find_a_key_and_a_domain(write: Write) -> None:
    path = write("""\
        operational_flows:
        - {name: 诗人, id: Poet-1, description: x}
        - {name: Café Zoë, id: c, description: x}
        routing_flows:
          程序:
            coder: {id: coder-1, description: x}
    """)

    flows = load_catalog(path).flows

    assert {key: flow.domain for key, flow in flows.items()} == {
        "poet-1": "poet-1",
        "cafe-zoe": "cafe-zoe",
        "coder": "coder",
    }


@pytest.mark.parametrize(
    ("raw", "line", "reason"),
    [
        (GOOD.encode("utf-16"), 1, "is UTF-16 or UTF-32; save it as UTF-8"),
        (GOOD.encode("utf-16-le"), 1, "is UTF-16 or UTF-32; save it as UTF-8"),
        (GOOD.encode("utf-16-be"), 1, "is UTF-16 or UTF-32; save it as UTF-8"),
        (GOOD.encode("utf-32"), 1, "is UTF-16 or UTF-32; save it as UTF-8"),
        (b"", 1, "is empty; it should be a mapping"),
        (b"# nothing but a comment\n", 1, "is empty; it should be a mapping"),
        (b"- a\n", 1, "is a list; it should be a mapping"),
        (b"words\n", 1, "is a single value; it should be a mapping"),
        (b"a: 1\n...\n---\nb: 1\n", 3, "another document"),
        (b"operational_flows:\n\tpoet: {id: a}\n", 2, r"found character '\t'"),
        (b"a: &a [*a]\n", 1, "by its aliases"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_words(tmp_path: Path, raw: bytes, line: int, reason: str) -> None:
    path = tmp_path / "flows.yaml"
    path.write_bytes(raw)

    (fault,) = check_registry(path)

    assert (fault.line, fault.key) == (line, "(file)")
    assert reason in fault.reason


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        b"---\n" + GOOD.encode() + b"...\n",
        b"%YAML 1.1\n---\n" + GOOD.encode(),
    ],
    ids=["byte order mark", "CRLF", "CR", "one marked document", "YAML 1.1"],
)
def test_a_file_with_other_line_ends_or_marks_is_read(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "flows.yaml"
    path.write_bytes(raw)

    assert list(load_catalog(path).flows) == ["poet", "coder"]
    assert read_registry(path).warnings == ()


@pytest.mark.parametrize("value", ["5", "[a]", "[{ttl: 1d}, 5]"])
def test_a_merge_of_what_is_no_mapping_is_refused(write: Write, value: str) -> None:
    faults = check_registry(write(with_line(f"<<: {value}")))

    assert [(each.line, each.key) for each in faults] == [(6, f"{FLOW}.<<")]


AMBIGUOUS = [
    *("yes", "No", "on", "OFF", "y", "n", "true", "Null", "~", "", "=", "<<", "3.10", "01067", "0o17", "017", "0x1F"),
    *("0b11", "1_000", "1e3", ".5", "+1", "-1", "12:30", "190:20:30.15", "2024-01-01", "2024-1-1 10:00:00", ".inf"),
    *("*a", "&a", "!a", "%a", "@a", "`a", "- a", "? a", "a: b", "a #b", "#a", "[a]", "{a}", "a,b", "'a'", '"a"'),
    *(" a", "a ", "a\nb", "a\tb", "\ufeffa", "\u202ea", "👩‍👩‍👧", "شاعر‌ها", "诗人", "a:", "|", ">", "---", "..."),
]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_every_text_that_is_written_is_read_as_that_text_by_readers_of_either_yaml(
    registry: Path, tmp_path: Path, version: str
) -> None:
    config: dict[str, Any] = {f"k{number}": text for number, text in enumerate(AMBIGUOUS)}
    config["keys"] = dict.fromkeys(AMBIGUOUS, 1)

    update_flow(registry, "poet", {"config": config, "name": "3.10", "mine": AMBIGUOUS}, cwd=tmp_path)

    plain = YAML(typ="safe", pure=True)
    plain.version = version
    poet = plain.load(registry.read_text(encoding="utf-8"))["operational_flows"]["poet"]
    assert (poet["config"], poet["name"], poet["mine"]) == (config, "3.10", AMBIGUOUS)
    assert load_catalog(registry).flows["poet"].config == config
    assert read_registry(registry).warnings == ()


def test_an_edit_leaves_the_numbers_beside_it_as_they_were_written(write: Write, tmp_path: Path) -> None:
    path = write(with_line("config: {version: 3.10, code: 01067}"))

    update_flow(path, "poet", {"config": {"new": "3.10"}}, cwd=tmp_path)

    text = path.read_text()
    assert "version: 3.10\n" in text
    assert "code: 01067\n" in text
    assert 'new: "3.10"\n' in text


def test_a_flow_with_a_name_in_another_script_is_added_as_it_is(registry: Path, tmp_path: Path) -> None:
    add_flow(registry, {"key": "rishi", "id": "r", "name": "ऋषि", "examples": ["कविता क्या है?"]}, cwd=tmp_path)

    assert "name: ऋषि\n" in registry.read_text(encoding="utf-8")


def test_a_profile_keeps_its_numbers_and_has_no_marks_of_folds(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("description: >\n  one\n  two\ntechnical:\n  python: [3.10, 3.9]\n", encoding="utf-8")

    text = read_profile(path).text()

    assert "3.10" in text
    assert "one two" in text
    assert "\a" not in text


def test_halves_of_a_pair_that_json_escapes_are_one_character(write: Write) -> None:
    poet = {"id": "a", "name": "Ship \U0001f680", "examples": ["go"]}
    path = write(json.dumps({"operational_flows": {"poet": poet}}))

    assert load_catalog(path).active["poet"].name == "Ship \U0001f680"


@pytest.mark.parametrize("value", ["!!python/object:os.path {a: 1}", "!mine {a: 1}", "!!set {a, b}"])
def test_a_mapping_with_a_tag_is_refused(write: Write, value: str) -> None:
    faults = check_registry(write(with_line(f"config: {value}")))

    assert "has a tag that a registry does not know" in faults[0].reason


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[a, Why: how?]", "makes it a mapping: put it in quotes"),
        ("[a, null]", "this one is null: put it in quotes, or remove it"),
        ("[a, [b]]", "this one is a list itself: put it in quotes"),
    ],
)
def test_an_example_that_yaml_takes_for_something_else_is_refused_with_what_to_do(
    write: Write, written: str, said: str
) -> None:
    (fault,) = check_registry(write(with_line(f"examples: {written}")))

    assert said in fault.reason


@pytest.mark.parametrize("odd", ["5", "[5]", "{a: b}", "yes", "2024-01-01"])
def test_whatever_a_key_holds_its_flow_is_there_or_the_key_is_named(write: Write, odd: str) -> None:
    for name in MEANING:
        if name in ("key", "active", "status"):
            continue
        rest = {"id": "a", "domain": "b", "description": "x"}.items()
        lines = [f"{each}: {value}" for each, value in rest if each != name]
        reading = read_registry(
            write("operational_flows:\n  f:\n" + indent("\n".join([*lines, f"{name}: {odd}"]), "    "))
        )

        there = reading.catalog is not None and "f" in reading.catalog.flows
        assert there or any(name in fault.key for fault in reading.faults), (name, reading.faults)


def test_truths_among_words_are_words(write: Write) -> None:
    catalog = load_catalog(write(with_line("examples: [true, false, yes]")))

    assert ("true", "false", "yes") in [each.examples for each in catalog.active.values()]


def test_a_control_character_is_refused_with_its_line(write: Write) -> None:
    (fault,) = check_registry(write("operational_flows:\n  poet:\n    id: a\n    name: a\x07b\n"))

    assert (fault.line, fault.reason) == (4, "is not YAML: it holds U+0007")


def test_a_question_that_a_comment_cuts_short_is_remarked_on(write: Write) -> None:
    path = write(with_line("examples:\n    - where is # my parcel\n    - 'a # b'\n    ttl: 1h # an honest comment"))

    reading = read_registry(path)

    assert reading.catalog_or_raise().flows["poet"].examples == ("where is", "a # b")
    assert [str(each) for each in reading.warnings] == [
        f"line 7: {FLOW}.examples[0]: # my parcel is read as a comment; in quotes it belongs to the question"
    ]


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("examples:\n    - @ann where is it", "put a text that begins with it in quotes"),
        ("examples:\n    - *urgent* help", "put a text that begins with `*` in quotes"),
        ('examples:\n    - "Where" is it', "a text that begins with a quote or a bracket has to end with it"),
        ('examples: ["a', "a quote or a bracket is not closed"),
        ("\texamples: [a]", "YAML indents by spaces"),
        ("description:\tso", "put spaces in the place of tabs"),
        ("description: so: it", "put a text that holds `: ` in quotes"),
        ("domain:code\n    description: so", "each line of a mapping is a key, a colon and a space"),
        ("examples:\n    - | where is it", "put a text that begins with `|` or `>` in quotes"),
        ("examples:\n    - {where} is it", "a text that begins with a quote or a bracket has to end with it"),
        ('description: "C:\\docs"', "put the text in single quotes"),
        ("domain: code\n   description: so", "this line is indented less than those above it"),
        ("domain: code\n---\nmore: so", "a registry has one document: remove the line `---`"),
        ("examples：\n      a: b", "： is a full-width colon, YAML has `:`"),
        ("\n\u00a0 examples: [a]", "begins with U+00A0 (no-break space): YAML indents by plain spaces"),
    ],
)
def test_what_is_not_yaml_comes_with_what_to_do(write: Write, written: str, advice: str) -> None:
    faults = read_registry(write(with_line(written))).faults

    assert any(advice in str(each) for each in faults), faults


def test_a_registry_with_full_width_colons_alone_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("operational_flows：\n  poet：\n    id：a\n")

    (fault,) = read_registry(tmp_path / "r.yaml").faults

    assert "： is a full-width colon, YAML has `:`" in str(fault)


def test_an_anchor_that_two_values_have_is_remarked_on_and_nothing_else_warns(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "one: &base {description: a}\ntwo: &base {description: b}\n"
        "operational_flows:\n  poet:\n    <<: *base\n    id: a\n    examples: [how]\n"
    )

    reading = read_registry(path)

    assert reading.catalog_or_raise().flows["poet"].description == "b"
    assert [str(each) for each in reading.warnings] == [
        "line 2: two: has the anchor &base of another value; aliases below it mean this one"
    ]
    assert not recwarn.list
