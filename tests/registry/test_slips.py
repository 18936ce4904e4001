"""Keys that nobody reads are named with the one that was meant, wherever they stand."""

from __future__ import annotations

from typing import Any

from agentic_flywheel.catalog import SIGNALS
from agentic_flywheel.registry import check_registry, entry, policy, servers
from agentic_flywheel.registry.document import dotted
from agentic_flywheel.registry.sections import SECTIONS, Entry
from agentic_flywheel.registry.slips import remarks_on_keys
from agentic_flywheel.routing.signals import DEFAULT_WEIGHTS

from .conftest import GOOD, Write

OF_THE_POLICY = [name for name in policy.MEANING if name not in ("high", "medium")]


def remarked(data: dict[str, Any] | None = None, flow: dict[str, Any] | None = None) -> dict[str, str]:
    entries = [] if flow is None else [Entry("poet", ("operational_flows", "poet"), flow)]
    return {dotted(where): text for where, text in remarks_on_keys(data or {}, entries)}


def slips(names: Any) -> dict[str, str]:
    """Each name with one letter left out, by the name; shorter ones have too many neighbours."""
    return {name[: len(name) // 2] + name[len(name) // 2 + 1 :]: name for name in names if len(name) > 4}


def test_a_slip_is_named_with_what_was_meant_wherever_it_stands() -> None:
    top = slips([*SECTIONS, policy.SECTION, "servers", "prices", "currency"])
    in_policy, in_flow, in_weights = (
        slips({*OF_THE_POLICY} - {"bands", "scoring_weights"}),
        slips(entry.MEANING),
        slips(SIGNALS),
    )
    section = {**dict.fromkeys(in_policy, 1), "scoring_weights": dict.fromkeys(in_weights, 1), "bands": {"hig": 1}}

    told = remarked(dict.fromkeys(top, "") | {policy.SECTION: section}, flow=dict.fromkeys(in_flow))

    meant = {
        **{f"operational_flows.poet.{slip}": name for slip, name in in_flow.items()},
        **{f"{policy.SECTION}.{slip}": name for slip, name in in_policy.items()},
        **{f"{policy.SECTION}.scoring_weights.{slip}": name for slip, name in in_weights.items()},
        **{slip: name for slip, name in top.items() if name != policy.SECTION},
        f"{policy.SECTION}.bands.hig": "high",
    }
    assert {where: told.get(where) for where in meant} == {
        where: f"is not a key that is read; did you mean `{name}`?" for where, name in meant.items()
    }


def test_a_key_with_letters_that_look_like_others_is_named_with_the_first_of_them() -> None:
    alike = str.maketrans("ao", "ао")
    keys = {name.translate(alike): name for name in entry.MEANING if {*name} & {*"ao"} and len(name) > 5}
    keys["examples\u200b"] = "examples"

    told = remarked({"заметка": "my own"}, flow=dict.fromkeys(keys))

    assert len(keys) > 10
    for written, name in keys.items():
        odd = next(char for char in written if not char.isascii())
        assert f"since it holds U+{ord(odd):04X} (" in told[f"operational_flows.poet.{written}"], written
        assert told[f"operational_flows.poet.{written}"].endswith(f"did you mean `{name}`?")
    assert "заметка" not in told


def test_a_key_in_another_place_is_named_with_its_own() -> None:
    of_flows = [name for name in entry.MEANING if name not in ("key", "id", "name", "description", "purpose", "active")]
    of_servers = [name for name in servers.MEANING if name not in entry.MEANING]

    top = remarked(dict.fromkeys([*of_flows, *OF_THE_POLICY, *of_servers]))
    inside = remarked({policy.SECTION: dict.fromkeys(of_flows)}, flow=dict.fromkeys([*policy.MEANING, *of_servers]))

    assert {name for name, told in top.items() if told.endswith("belongs to a flow")} == set(of_flows) - {"server"}
    assert {name for name, told in top.items() if "intent_classification" in told} == set(OF_THE_POLICY)
    assert len(inside) == len(of_flows) + len(policy.MEANING) + len(of_servers)


def test_a_flows_own_key_among_its_settings_is_named() -> None:
    told = remarked(flow={"config": {"ttl": "3d", "temperature": 0.2, "temprature": 0.1}})

    assert list(told) == ["operational_flows.poet.config.ttl"]


def test_what_is_somebodys_own_is_left_alone() -> None:
    data = {"team": {"owner": "me"}, "defaults": {"server": "mine", "model": "gpt"}, "models": 3, "name": "Ours"}

    assert remarked(data, flow={"id": "a", "owner": "me", "colour": "red", "last_analyzed": 1}) == {}


def test_flows_in_a_section_that_is_not_read_are_a_fault_where_there_are_no_others(write: Write) -> None:
    for section, meant in (("flow", "operational_flows"), ("flows", "operational_flows"), ("routing", "routing_flows")):
        (fault,) = check_registry(write(GOOD.replace("operational_flows", section)))

        assert (fault.line, fault.key) == (1, section)
        assert fault.reason == f"holds flows, and is no section that is read; did you mean `{meant}`?"


def test_the_weights_that_are_known_are_those_that_count() -> None:
    assert set(DEFAULT_WEIGHTS) == set(SIGNALS)
