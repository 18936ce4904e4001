"""Registries of the older format keep working as they are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from agentic_flywheel.registry import load_catalog, read_registry

DATA = Path(__file__).parent / "data"
EXPORTED = DATA / "legacy-exported.yaml"
HANDWRITTEN = DATA / "legacy-handwritten.yaml"


def test_an_exported_registry_gives_its_active_flows_in_order() -> None:
    catalog = load_catalog(EXPORTED)

    assert list(catalog.active) == ["csv2507", "faith2story2507", "Research-Co-Agency", "agentDocStore"]
    assert len(catalog.flows) == 8


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("flow-fb8b27ca", "its status is archived, whatever `active` says"),
        ("flow-e9890aba", "its `active` is 0, whatever the status says"),
        ("flow-8b4310d1", "it is in testing and nobody activated it"),
        ("document-qa", "it is a concept only"),
    ],
)
def test_a_flow_takes_no_questions_when(key: str, why: str) -> None:
    assert not load_catalog(EXPORTED).flows[key].active, why


def test_a_flow_without_a_domain_gets_one_from_its_key_or_purpose() -> None:
    flows = load_catalog(EXPORTED).flows

    assert flows["csv2507"].domain == "creative"  # its purpose says so
    assert flows["faith2story2507"].domain == "creative"  # its key says so
    assert flows["agentDocStore"].domain == "documents"
    assert flows["Research-Co-Agency"].domain == "research-co-agency"  # nothing says anything else


def test_a_flow_without_a_ttl_gets_one_for_its_domain_or_purpose() -> None:
    flows = load_catalog(EXPORTED).flows | load_catalog(HANDWRITTEN).flows

    assert flows["csv2507"].ttl == timedelta(days=30)
    assert flows["agentDocStore"].ttl == timedelta(days=1)
    assert flows["device-help"].ttl == timedelta(days=7)
    assert flows["Research-Co-Agency"].ttl == timedelta(days=7)
    assert flows["handbook-docs"].ttl == timedelta(hours=12)  # the file's own word counts


def test_what_older_flows_carry_is_read() -> None:
    flow = load_catalog(EXPORTED).flows["csv2507"]

    assert flow.id == "7d405a51-968d-4467-9ae6-d49bf182cdf9"
    assert flow.session_format == "chat:csv2507:{uuid}"
    assert flow.config["temperature"] == 0.1
    assert flow.config["maxOutputTokens"] == 3000
    assert flow.keywords == ("goal", "vision", "tension", "creative", "2030")


def test_the_single_threshold_becomes_the_lower_bound_of_the_medium_band() -> None:
    policy = load_catalog(EXPORTED).policy

    assert (policy.medium, policy.high, policy.multi_flow_threshold) == (0.6, 0.7, 0.8)


def test_a_single_threshold_above_the_high_band_raises_the_high_band(tmp_path: Path) -> None:
    strict = tmp_path / "flows.yaml"
    strict.write_text(EXPORTED.read_text().replace("confidence_threshold: 0.6", "confidence_threshold: 0.85"))

    policy = load_catalog(strict).policy

    assert (policy.medium, policy.high) == (0.85, 0.85)


def test_bands_win_over_the_single_threshold(tmp_path: Path) -> None:
    both = tmp_path / "flows.yaml"
    both.write_text(EXPORTED.read_text().replace("  method:", "  bands: {high: 0.9, medium: 0.3}\n  method:"))

    policy = load_catalog(both).policy

    assert (policy.medium, policy.high) == (0.3, 0.9)


def test_a_fallback_that_names_an_intent_of_the_older_format_means_a_flow_of_that_domain() -> None:
    reading = read_registry(EXPORTED)

    assert reading.catalog is not None
    assert reading.catalog.default.key == "csv2507"
    assert str(reading.warnings[-1]) == (
        "line 99: intent_classification.fallback_flow: names no active flow; 'csv2507' is taken for it"
    )


def test_groups_archives_and_lists_of_flows_are_read() -> None:
    catalog = load_catalog(HANDWRITTEN)

    assert list(catalog.active) == ["device-help", "api-help", "handbook-docs"]
    assert sorted(set(catalog.flows) - set(catalog.active)) == ["device-help-2023", "old-help"]
    assert catalog.flows["api-help"].domain == "technical"  # the group's name
    assert catalog.flows["device-help"].id == "11111111-2222-4333-8444-555555555555"  # not the archived one


def test_merged_mappings_and_folded_texts_mean_what_yaml_says() -> None:
    flow = load_catalog(HANDWRITTEN).flows["device-help"]

    assert flow.config == {"temperature": 0.2, "maxOutputTokens": 1500, "systemMessage": "Stay brief."}
    assert flow.description == "Answers questions about devices.\n\nKnows firmware 3 and later.\n"
