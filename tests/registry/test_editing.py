"""An edit changes what it should and not a character more, whole or not at all."""

from __future__ import annotations

import difflib
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic_flywheel.errors import InvalidRegistry, UnknownFlow
from agentic_flywheel.registry import add_flow, bundled_registry, find_registry, load_catalog, update_flow

from .conftest import Write
from .writer import write_many

DATA = Path(__file__).parent / "data"
NEW = {"key": "lawyer", "id": "law-1", "domain": "legal", "examples": ["May I do this?"], "rate": "60/m"}


def changed_lines(before: str, after: str) -> list[str]:
    """The lines that went and came, with - and + before them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


@pytest.fixture(params=["legacy-exported.yaml", "legacy-handwritten.yaml"])
def legacy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(DATA / request.param, tmp_path / "flow-registry.yaml"))


@pytest.fixture
def handwritten(tmp_path: Path) -> Path:
    return Path(shutil.copy(DATA / "legacy-handwritten.yaml", tmp_path / "flow-registry.yaml"))


def test_a_flow_is_added_below_the_others_and_nothing_else_changes(legacy: Path, tmp_path: Path) -> None:
    before, flows = legacy.read_text(), load_catalog(legacy).flows

    assert add_flow(legacy, NEW, cwd=tmp_path) == legacy

    assert not [line for line in changed_lines(before, legacy.read_text()) if line.startswith("-")]
    catalog = load_catalog(legacy)
    assert catalog.flows["lawyer"].rate == 1.0
    assert {key: flow for key, flow in catalog.flows.items() if key != "lawyer"} == flows


def test_a_new_flow_is_laid_out_as_its_neighbours_are(handwritten: Path, tmp_path: Path) -> None:
    add_flow(handwritten, NEW, cwd=tmp_path)

    text = handwritten.read_text()
    written = text[text.index("    handbook-docs:") : text.index("# What came before.")]
    assert written.endswith(
        "        ttl: 12h\n\n"
        "    lawyer:\n"
        "        id: law-1\n"
        "        domain: legal\n"
        "        examples:\n"
        "            - May I do this?\n"
        "        rate: 60/m\n\n"
    )


def test_a_change_keeps_comments_quotes_and_unknown_keys(handwritten: Path, tmp_path: Path) -> None:
    before = handwritten.read_text()

    update_flow(
        handwritten,
        "device-help",
        {"name": "Gadget Help", "config": {"systemMessage": "Be kind.", "topP": 1}, "ttl": "3d"},
        cwd=tmp_path,
    )

    assert changed_lines(before, handwritten.read_text()) == [
        '-            name: "Device Help"',
        "+            name: Gadget Help",
        "-                systemMessage: 'Stay brief.'   # customers complained",
        "+                systemMessage: Be kind.   # customers complained",
        "+                topP: 1",
        "+            ttl: 3d",
    ]


def test_items_of_a_list_that_stay_keep_their_comments(handwritten: Path, tmp_path: Path) -> None:
    before = handwritten.read_text()

    update_flow(handwritten, "api-help", {"intent_keywords": ["token", "quota", "status code", "yes"]}, cwd=tmp_path)

    assert changed_lines(before, handwritten.read_text()) == [
        "-                - endpoint",
        "+                - quota",
        '+                - "yes"',
    ]
    assert load_catalog(handwritten).flows["api-help"].keywords == ("token", "quota", "status code", "yes")


def test_a_text_of_several_lines_is_replaced_whole(handwritten: Path, tmp_path: Path) -> None:
    update_flow(handwritten, "device-help", {"description": "One\n\n  two: # three\n"}, cwd=tmp_path)

    flow = load_catalog(handwritten).flows["device-help"]
    assert flow.description == "One\n\n  two: # three\n"
    assert flow.config["systemMessage"] == "Stay brief."


def test_none_removes_a_key_with_its_line(handwritten: Path, tmp_path: Path) -> None:
    before = handwritten.read_text()

    update_flow(handwritten, "handbook-docs", {"ttl": None, "purpose": None, "never there": None}, cwd=tmp_path)

    assert changed_lines(before, handwritten.read_text()) == [
        "-        purpose: Strategy and planning documents",
        "-        ttl: 12h",
    ]


def test_a_change_that_changes_nothing_leaves_the_text_as_it_is(legacy: Path, tmp_path: Path) -> None:
    before, flow = legacy.read_text(), next(iter(load_catalog(legacy).active.values()))

    update_flow(legacy, flow.key, {"config": {"temperature": flow.config["temperature"]}}, cwd=tmp_path)

    assert legacy.read_text() == before


def test_an_archived_flow_in_a_list_can_be_changed(handwritten: Path, tmp_path: Path) -> None:
    before = handwritten.read_text()

    update_flow(handwritten, "device-help-2023", {"note": "kept for Nina", "name": "Device Help (2023)"}, cwd=tmp_path)

    assert changed_lines(before, handwritten.read_text()) == ["+      note: kept for Nina"]


def test_a_flow_can_be_added_to_a_list_and_to_an_empty_section(write: Write, tmp_path: Path) -> None:
    path = write("operational_flows:\n- key: a\n  id: a  # first\n\n# the rest\nrouting_flows:\n")

    add_flow(path, NEW, cwd=tmp_path)

    assert list(load_catalog(path).flows) == ["a", "lawyer"]
    assert path.read_text().startswith("operational_flows:\n- key: a\n  id: a  # first\n- key: lawyer\n  id: law-1\n")
    assert path.read_text().endswith("\n\n# the rest\nrouting_flows:\n")

    path = write("routing_flows: {a: {id: a}}\noperational_flows:  # none yet\nx: 1\n")
    add_flow(path, NEW, cwd=tmp_path)
    assert list(load_catalog(path).flows) == ["lawyer", "a"]


def test_a_registry_in_flow_style_can_be_changed(write: Write, tmp_path: Path) -> None:
    path = write('{"operational_flows": {"a": {"id": "a", "config": {"t": 1}}}, "x": [1]}')

    add_flow(path, NEW, cwd=tmp_path)
    update_flow(path, "a", {"config": {"t": 2}}, cwd=tmp_path)

    flows = load_catalog(path).flows
    assert (list(flows), flows["a"].config) == (["a", "lawyer"], {"t": 2})


def test_windows_line_ends_and_a_byte_order_mark_stay(tmp_path: Path) -> None:
    path = tmp_path / "flows.yaml"
    path.write_bytes(b"\xef\xbb\xbfoperational_flows:\r\n  a:\r\n    id: a  # ours")

    add_flow(path, {"key": "b", "id": "b"}, cwd=tmp_path)
    update_flow(path, "a", {"ttl": "1d"}, cwd=tmp_path)

    assert path.read_bytes() == (
        b"\xef\xbb\xbfoperational_flows:\r\n  a:\r\n    id: a  # ours\r\n    ttl: 1d\r\n  b:\r\n    id: b\r\n"
    )


def test_the_files_mode_and_a_link_to_it_stay(registry: Path, tmp_path: Path) -> None:
    registry.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(registry)

    assert add_flow(link, NEW, cwd=tmp_path) == registry

    assert link.is_symlink()
    assert registry.stat().st_mode & 0o777 == 0o640
    assert "lawyer" in load_catalog(link).flows


@pytest.mark.parametrize(
    ("fields", "key", "reason"),
    [
        ({"key": "lawyer", "id": "law-1", "ttl": "soon"}, "operational_flows.lawyer.ttl", "a duration"),
        ({"key": "lawyer"}, "operational_flows.lawyer.id", "is missing"),
        ({"key": "my lawyer", "id": "law-1"}, "operational_flows.my lawyer", "a name of the letters A to Z"),
        ({"id": "law-1"}, "operational_flows", "needs a `key`"),
        ({"key": "poet", "id": "law-1"}, "operational_flows.poet", "is there already"),
        ({"key": "lawyer", "id": "law-1", "fallback": "judge"}, "operational_flows.lawyer.fallback", "does not exist"),
        ({"key": "lawyer", "id": "law-1", "config": {"t": {1}}}, "operational_flows", "not plain data"),
        ({"key": "lawyer", "id": "law-1", "name": "\ud800"}, "operational_flows", "not plain data"),
    ],
)
def test_a_faulty_flow_is_not_added(
    registry: Path, tmp_path: Path, fields: dict[str, Any], key: str, reason: str
) -> None:
    before = registry.read_bytes()

    with pytest.raises(InvalidRegistry) as refused:
        add_flow(registry, fields, cwd=tmp_path)

    assert refused.value.key == key
    assert reason in refused.value.reason
    assert "docs/registry.md" in refused.value.advice[0], "no line of the file is at fault"
    assert registry.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {registry.name, f".{registry.name}.lock"}


def test_a_faulty_change_is_not_written(registry: Path, tmp_path: Path) -> None:
    before = registry.read_bytes()

    with pytest.raises(InvalidRegistry, match="which is not active"):
        update_flow(registry, "poet", {"active": False}, cwd=tmp_path)  # it is the fallback flow
    with pytest.raises(UnknownFlow, match="judge"):
        update_flow(registry, "judge", {"active": False}, cwd=tmp_path)

    assert registry.read_bytes() == before


def test_a_file_that_is_faulty_already_is_not_touched(write: Write, tmp_path: Path) -> None:
    path = write("operational_flows:\n  a: {id: a, ttl: soon}\n")

    with pytest.raises(InvalidRegistry, match="a duration above zero") as refused:
        add_flow(path, NEW, cwd=tmp_path)

    assert "Open the file" in refused.value.advice[0]
    assert "lawyer" not in path.read_text()


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("- key: a\n  id: a\n  x: 1\n", {"key": None, "name": "a"}, "- id: a\n  x: 1\n  name: a\n"),
        (
            "- {key: a, id: a}  # one\n- {key: b, id: b}\n",
            {"x": 1},
            "- key: a\n  id: a\n  x: 1  # one\n- {key: b, id: b}\n",
        ),
        ("  a:\n    id: a\n    config:\n      t: 1\n", {"config": {"t": None}}, "  a:\n    id: a\n    config: {}\n"),
        (
            "  a:\n    id: a\n    config:\n      t: 1\n",
            {"config": {"t": None, "u": 2}},
            "  a:\n    id: a\n    config:\n      u: 2\n",
        ),
        ("  a:\n    id: a\n      # rate: 5\n# end\n", {"x": 1}, "  a:\n    id: a\n      # rate: 5\n    x: 1\n# end\n"),
        (
            "  a:\n    id: a\n    name: |\n      A\n\n  # b\nx: 1\n",
            {"ttl": 5},
            "  a:\n    id: a\n    name: |\n      A\n    ttl: 5\n\n  # b\nx: 1\n",
        ),
        ("  a:\n    id: a\n    name: >\nx: 1\n", {"ttl": 5}, "  a:\n    id: a\n    name: >\n    ttl: 5\nx: 1\n"),
        (
            "  a:\n    id: a\n    name:\n\n\n# end\nx: 1\n",
            {"ttl": 2},
            "  a:\n    id: a\n    name:\n    ttl: 2\n\n\n# end\nx: 1\n",
        ),
        ("  a:\n    note:\n    id: a\n", {"note": ["x"]}, "  a:\n    note:\n      - x\n    id: a\n"),
        ("  a:\n    note:\n    id: a\n", {"note": None}, "  a:\n    id: a\n"),
        ("  a:\n    id: a\n    name:   # none\n", {"name": "A"}, "  a:\n    id: a\n    name: A   # none\n"),
        (
            "  a:\n    id: a\n    examples:\n      - q\n",
            {"examples": [], "x": {"w": [{"z": [1.5]}]}},
            "  a:\n    id: a\n    examples: []\n    x:\n      w:\n        - z:\n            - 1.5\n",
        ),
        ('  a: {id: a, "name": "A"}\n', {"x": 1e300}, "  a:\n    id: a\n    name: A\n    x: 1.0e+300\n"),
    ],
)
def test_odd_layouts_are_changed_as_their_author_would(
    write: Write, tmp_path: Path, before: str, changes: dict[str, Any], after: str
) -> None:
    path = write("operational_flows:\n" + before)

    update_flow(path, "a", changes, cwd=tmp_path)

    assert path.read_text() == "operational_flows:\n" + after


def test_what_cannot_be_changed_in_place_is_refused_and_not_guessed(write: Write, tmp_path: Path) -> None:
    shared = "x: &x {t: 1}\noperational_flows:\n  a:\n    id: a\n    config: *x\n  b: &b\n    id: b\n  c: *b\n"
    path = write(shared)

    with pytest.raises(InvalidRegistry, match="edit it by hand: the value of `config` is an alias"):
        update_flow(path, "a", {"config": {"t": 2}}, cwd=tmp_path)
    with pytest.raises(InvalidRegistry, match="cannot be changed in place") as refused:
        update_flow(path, "b", {"ttl": "1d"}, cwd=tmp_path)  # would change c as well
    assert "by hand" in refused.value.advice[0]
    assert path.read_text() == shared

    path = write("q: &q ask\noperational_flows:\n  a:\n    id: a\n    examples:\n    - *q\n")
    with pytest.raises(InvalidRegistry, match="a list ends with an alias"):
        update_flow(path, "a", {"ttl": "1d"}, cwd=tmp_path)

    path = write("operational_flows:\n  a:\n    id: a\n    ours:\n    - 1\n    -\n")
    with pytest.raises(InvalidRegistry, match="a list ends with an empty item"):
        update_flow(path, "a", {"ttl": "1d"}, cwd=tmp_path)


def test_the_bundled_registry_is_copied_to_the_working_folder_and_never_written(tmp_path: Path) -> None:
    bundled = bundled_registry().read_text()

    written = add_flow(bundled_registry(), NEW, cwd=tmp_path)
    update_flow(bundled_registry(), "lawyer", {"name": "Advocate"}, cwd=tmp_path)

    assert written == find_registry(None, cwd=tmp_path, home=tmp_path / "nowhere")
    assert bundled_registry().read_text() == bundled
    flows = load_catalog(written).flows
    assert (len(flows), flows["lawyer"].name) == (4, "Advocate")
    assert not [line for line in changed_lines(bundled, written.read_text()) if line.startswith("-")]


def test_a_refused_addition_leaves_no_copy_of_the_bundled_registry(tmp_path: Path) -> None:
    with pytest.raises(InvalidRegistry):
        add_flow(bundled_registry(), {"key": "lawyer"}, cwd=tmp_path)

    assert find_registry(None, cwd=tmp_path, home=tmp_path) == bundled_registry()


def test_a_folder_that_cannot_be_written_is_an_expected_failure(tmp_path: Path) -> None:
    (tmp_path / ".agentic_flywheel").write_text("a file where the folder should be")

    with pytest.raises(InvalidRegistry, match="cannot be written") as refused:
        add_flow(bundled_registry(), NEW, cwd=tmp_path)

    assert str(tmp_path / ".agentic_flywheel") in refused.value.advice[0]


def test_two_processes_that_write_at_once_lose_no_edit(registry: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(registry, writer, 4)) for writer in ("left", "right")]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)

    assert [each.exitcode for each in writers] == [0, 0]
    catalog = load_catalog(registry)
    assert set(catalog.flows) == {"poet", "coder"} | {f"{w}-{n}" for w in ("left", "right") for n in range(4)}
    assert catalog.flows["poet"].config == {"left": 3, "right": 3}


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), max_size=30)
_SCALAR = st.one_of(
    _TEXT, st.integers(-(10**20), 10**20), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
_VALUE = st.recursive(
    st.one_of(_SCALAR, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXT, inner, max_size=4)),
    max_leaves=8,
)
_CHANGES = st.dictionaries(st.sampled_from(["note", "owner", "steps", "extra", "auto_discovered"]) | _TEXT, _VALUE)


_SMALL = """\
operational_flows:
  a:
    id: a   # ours
    config:   # as agreed
      first: 1
      # the last word
    unknown:
    - x  # keep
    - y

  b: {id: b}
# the end
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_CHANGES, min_size=1, max_size=3))
def test_any_plain_values_can_be_written_and_the_rest_stays(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(_SMALL)
    expected: dict[str, Any] = {"first": 1}

    for changes in steps:
        update_flow(path, "a", {"config": changes, "unknown": [changes.get("note"), "x"]}, cwd=tmp_path)
        expected = merged(expected, changes)

    assert load_catalog(path).flows["a"].config == expected
    after = path.read_text().splitlines()
    kept = [line for line in _SMALL.splitlines() if line not in ("    - y", "    - x  # keep")]
    assert [line for line in after if line in kept and line.strip()] == [line for line in kept if line.strip()]


def merged(data: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396, as it is written there."""
    result = dict(data) if isinstance(data, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key), value)
        else:
            result[key] = value
    return result
