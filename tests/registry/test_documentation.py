"""What the documentation says of the format is so."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from agentic_flywheel.catalog import Flow, Policy, parse_duration
from agentic_flywheel.registry import bundled_registry, load_catalog, read_registry
from agentic_flywheel.registry.document import document_of
from agentic_flywheel.registry.reading import reading_of
from agentic_flywheel.servers import FlowServer

from .conftest import GOOD, Write

#: Fields of a flow that are no keys of its entry: the key itself, and what `server` stands for.
INNER = {"key", "served_by"}
PAGE = (Path(__file__).parents[2] / "docs" / "registry.md").read_text("utf-8")


def test_every_key_is_documented() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    documented = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}

    assert {field.alias or name for name, field in Flow.model_fields.items()} - INNER <= documented
    assert {f"servers.{name}" for name in FlowServer.model_fields} <= documented
    bands = {"high", "medium"}
    assert (Policy.model_fields.keys() - bands) | {f"bands.{name}" for name in bands} <= documented


def test_one_table_names_every_key_of_a_flow_with_its_default() -> None:
    section = PAGE.partition("## Keys of a flow\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    defaults = {name: row[2].strip() for row in rows for name in re.findall(r"`(\w+)`", row[0])}

    assert all(len(row) == 4 for row in rows)
    assert [row[0].strip() for row in rows if not row[2].strip() or not row[3].strip()] == []
    assert defaults.keys() == {field.alias or name for name, field in Flow.model_fields.items()} - INNER | {"status"}
    for name, field in Flow.model_fields.items():
        said = defaults.get(field.alias or name, "").strip("`")
        if isinstance(field.default, timedelta) and name != "ttl":
            assert parse_duration(said) == field.default, name
        elif isinstance(field.default, bool | int) or (isinstance(field.default, str) and field.default):
            assert said == str(field.default).lower(), name


def test_the_first_example_is_a_registry_without_a_remark() -> None:
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]

    reading = reading_of(document_of(Path("example.yaml"), example.encode()))

    assert (reading.faults, reading.warnings) == ((), ())
    assert reading.catalog is not None
    assert reading.catalog.flows["support"].topics["returns"] == (
        "How do I send a parcel back?",
        "When do I get my money back?",
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("90s", 90),
        ("15m", 900),
        ("12h", 43200),
        ("7d", 604800),
        ("2w", 1209600),
    ],
)
def test_durations_may_have_a_unit(write: Write, text: str, seconds: float) -> None:
    flows = load_catalog(write(GOOD.replace("id: poet-1", f"id: poet-1\n    ttl: {text}"))).flows

    assert flows["poet"].ttl == timedelta(seconds=seconds)


@pytest.mark.parametrize(("text", "rate"), [("10", 10), ("0.5", 0.5), ("10/s", 10), ("60/m", 1), ("1800 / h", 0.5)])
def test_rates_may_have_a_unit(write: Write, text: str, rate: float) -> None:
    flows = load_catalog(write(GOOD.replace("id: poet-1", f"id: poet-1\n    rate: {text}"))).flows

    assert flows["poet"].rate == rate


@pytest.mark.parametrize("text", ["off", "false", "no", "0", "'off'"])
def test_caching_can_be_switched_off_in_every_usual_way(write: Write, text: str) -> None:
    assert _poet(write, text).cache == "off"


@pytest.mark.parametrize("text", ["on", "true", "yes", "1", "'on'", "owner", "~"])
def test_a_registry_that_only_says_that_answers_are_kept_keeps_them_for_their_askers(write: Write, text: str) -> None:
    assert _poet(write, text).cache == "owner"


def test_that_answers_are_for_everybody_is_said_by_the_author(write: Write) -> None:
    assert _poet(write, "shared").cache == "shared"
    assert all(flow.cache == "shared" for flow in load_catalog(bundled_registry()).flows.values())


def _poet(write: Write, cache: str) -> Flow:
    return load_catalog(write(GOOD.replace("id: poet-1", f"id: poet-1\n    cache: {cache}"))).flows["poet"]


def test_the_whole_format_is_read(write: Write) -> None:
    path = write("""\
        operational_flows:
          poet:
            id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
            name: 1984
            description: Writes
            purpose: Verse
            domain: creative
            session_format: chat:poet:{uuid}
            config: {temperature: 0.8, stop: [END], vars: {tone: null, since: 2024-01-31}}
            intent_keywords: [poem, 2024]
            topics: {verse: [a sonnet please]}
            examples: [sing to me]
            ttl: 3d
            stale_while_revalidate: 1h
            failure_ttl: 1m
            cache: shared
            match: loose
            timeout: 30s
            idle_timeout: 5s
            rate: 10/s
            concurrency: 7
            attempts: 2
            fallback: spare
            memory: history
            history_turns: 10
            history_chars: 4000
            streaming: false
            injection: vars
            api_key_env: POET_KEY
            server: https://elsewhere.example
          spare:
            id: spare
          editor:
            id: editor
          titles:
            id: titles
        intent_classification:
          fallback_flow: spare
          bands: {high: 0.8, medium: 0.5}
          multi_flow_threshold: 0.3
          max_targets: 2
          on_medium: best_two
          on_low: clarify
          synthesis_flow: editor
          side_calls: titles
          scoring_weights: {keyword: 2}
    """)

    catalog = read_registry(path).catalog

    assert catalog is not None
    assert catalog.flows["poet"] == Flow(
        key="poet",
        id="7d405a51-968d-4467-9ae6-d49bf182cdf9",
        name="1984",
        description="Writes",
        purpose="Verse",
        domain="creative",
        session_format="chat:poet:{uuid}",
        config={"temperature": 0.8, "stop": ["END"], "vars": {"tone": None, "since": "2024-01-31"}},
        keywords=("poem", "2024"),
        topics={"verse": ("a sonnet please",)},
        examples=("sing to me",),
        ttl=timedelta(days=3),
        stale_while_revalidate=timedelta(hours=1),
        failure_ttl=timedelta(minutes=1),
        cache="shared",
        match="loose",
        timeout=timedelta(seconds=30),
        idle_timeout=timedelta(seconds=5),
        rate=10,
        concurrency=7,
        attempts=2,
        fallback="spare",
        memory="history",
        history_turns=10,
        history_chars=4000,
        streaming=False,
        injection="vars",
        api_key_env="POET_KEY",
        server="https://elsewhere.example",
    )
    assert catalog.policy == Policy(
        fallback_flow="spare",
        high=0.8,
        medium=0.5,
        multi_flow_threshold=0.3,
        max_targets=2,
        on_medium="best_two",
        on_low="clarify",
        synthesis_flow="editor",
        side_calls="titles",
        scoring_weights={"keyword": 2},
    )
    assert list(catalog.routable) == ["poet", "spare"]
    assert catalog.source == str(path)
