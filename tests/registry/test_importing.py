"""What an import proposes for the flows of a server, and what is left of it in the file."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_flywheel.backends.flowise.about import FlowPurpose
from agentic_flywheel.backends.flowise.models import Chatflow, ServerRate
from agentic_flywheel.catalog import Catalog, Flow, FormField
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import bundled_registry, import_flows, load_catalog
from agentic_flywheel.registry.importing import FlowProposal, Listed, proposals, selected
from agentic_flywheel.texts import fault_in

URL = "http://flowise.example:3000"


def listed(name: str = "Support", id_: str = "id-1", *, streams: bool | None = True, **known: Any) -> Listed:
    return Listed(Chatflow(id=id_, name=name, **known), streams)


def proposed(*flows: Listed, catalog: Catalog | None = None, **more: Any) -> list[FlowProposal]:
    return proposals(catalog, flows, **{"url": URL, "base": None, **more})


def write(path: Path, found: list[FlowProposal], *, cwd: Path) -> Path:
    return import_flows(
        path,
        {each.key: each.fields for each in found if each.change == "add"},
        {each.key: each.fields for each in found if each.change == "update"},
        head="# From a server.",
        cwd=cwd,
        revision=None,
    )


def test_a_new_flow_is_proposed_with_what_its_server_says_of_it() -> None:
    about = FlowPurpose(prompts=("You answer customers. Be brief.",), starters=("Where is my order?",), remembers=False)
    (found,) = proposed(
        listed(
            "Kunden-Service",
            category="Sales;Inner",
            rate=ServerRate(calls=2, period=timedelta(seconds=60)),
            about=about._replace(acts=True),
            streams=False,
        )
    )

    assert (found.key, found.change) == ("kunden-service", "add")
    assert found.fields == {
        "id": "id-1",
        "name": "Kunden-Service",
        "domain": "sales",
        "description": "You answer customers.",
        "examples": ["Where is my order?"],
        "memory": "none",
        "cache": "off",
        "rate": "120/h",
        "streaming": False,
    }
    assert any("system prompt" in note for note in found.notes)


def test_the_form_with_which_a_flow_begins_comes_with_it_and_is_added_where_it_lacks(tmp_path: Path) -> None:
    form = (FormField(name="size", type="options", options=("S", "M")), FormField(name="count", type="number"))
    written = [{"name": "size", "type": "options", "options": ["S", "M"]}, {"name": "count", "type": "number"}]
    begins = listed(start="formInput", form=form)
    flow = Flow(key="support", id="id-1", domain="d", name="Support")

    (new,) = proposed(begins)
    (lacking,) = proposed(begins, catalog=Catalog(flows={"support": flow}))
    (own,) = proposed(begins, catalog=Catalog(flows={"support": Flow(**{**dict(flow), "form": form[:1]})}))

    assert (new.fields["form"], "active" in new.fields) == (written, False)
    assert not any("examples" in note for note in new.notes)
    assert lacking.fields == {"form": written}
    assert "form" not in own.fields
    assert own.notes == ("its form has more fields than the registry's: `count` (number)",)
    general = listed("General", "id-2")
    catalog = load_catalog(write(tmp_path / "flow-registry.yaml", proposed(begins, general), cwd=tmp_path))
    assert catalog.flows["support"].form == form


def test_what_is_usual_is_left_out_and_examples_are_left_to_fill_in() -> None:
    (found,) = proposed(listed(about=FlowPurpose(description="Answers on orders", remembers=True)))

    assert found.fields == {
        "id": "id-1",
        "name": "Support",
        "domain": "support",
        "description": "Answers on orders",
        "examples": [],
    }
    assert any("no examples" in note for note in found.notes)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"start": "webhookTrigger"}, "webhook"),
        ({"start": "scheduleInput"}, "schedule"),
    ],
)
def test_a_flow_that_cannot_be_asked_is_not_active(known: dict[str, Any], why: str) -> None:
    (found,) = proposed(listed(**known))

    assert found.fields["active"] is False
    assert any(why in note for note in found.notes)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (ServerRate(calls=1, period=timedelta(days=365)), "0.0001/h"),
        (ServerRate(calls=10**12, period=timedelta(seconds=1)), "3600000000000000/h"),
        (ServerRate(calls=0, period=timedelta(seconds=1)), None),
        (ServerRate(calls=5, period=timedelta()), None),
        (ServerRate(calls=1, period=timedelta(days=365_000)), None),
    ],
)
def test_a_servers_limit_is_written_as_a_rate_that_a_registry_reads(
    rate: ServerRate, text: str | None, tmp_path: Path
) -> None:
    found = proposed(listed(rate=rate))
    path = write(bundled_registry(), found, cwd=tmp_path)

    assert found[0].fields.get("rate") == text
    assert (load_catalog(path).flows["support"].rate is None) == (text is None)


def test_keys_are_told_apart_and_do_not_depend_on_the_servers_order(tmp_path: Path) -> None:
    flows = [
        listed("Poet", "b"),
        listed("poet!", "a"),
        listed("POET", "c"),
        listed("诗人", "d4e5"),
        listed("🦊", "d4e5-2"),
        listed("Помощь 2", "e5f6"),
    ]
    found = {each.there.id: each.key for each in proposed(*flows)}
    again = {each.there.id: each.key for each in proposed(*reversed(flows))}

    assert found == again
    assert len(set(found.values())) == 6
    assert {found["a"], found["b"], found["c"]} == {"poet", "poet-2", "poet-3"}
    assert (found["d4e5"], found["e5f6"]) == ("flow-d4e5", "flow-e5f6")


def test_the_key_of_another_flow_is_not_taken(registry: Path) -> None:
    (found,) = proposed(listed("Poet", "new"), catalog=load_catalog(registry))

    assert found.key == "poet-2"
    assert "another flow has poet" in found.notes[0]


def test_a_second_import_changes_nothing_and_comments_stay(registry: Path, tmp_path: Path) -> None:
    registry.write_text("# Mine.\n" + registry.read_text().replace("id: coder-1", "id: coder-1  # the old one"))
    flows = [listed("Coder", "coder-1"), listed("Support", rate=ServerRate(calls=9, period=timedelta(minutes=1)))]
    write(registry, proposed(*flows, catalog=load_catalog(registry)), cwd=tmp_path)
    once = registry.read_bytes()
    again = proposed(*flows, catalog=load_catalog(registry))

    assert [each.change for each in again] == ["none", "none"]
    assert write(registry, again, cwd=tmp_path) == registry
    assert registry.read_bytes() == once
    assert b"# Mine." in once
    assert b"id: coder-1  # the old one" in once


def test_a_flow_that_was_renamed_is_known_by_its_id_and_keeps_what_was_written(registry: Path, tmp_path: Path) -> None:
    write(registry, proposed(listed("Support"), catalog=load_catalog(registry)), cwd=tmp_path)
    text = registry.read_text().replace("name: Support", "name: Support  # as customers know it")
    registry.write_text(text.replace("domain: support", "domain: sales").replace("examples: []", "examples: [Why?]"))
    found = proposed(listed("Help desk", streams=False), catalog=load_catalog(registry))
    write(registry, found, cwd=tmp_path)
    flow = load_catalog(registry).flows["support"]

    assert [(each.key, each.change, each.before) for each in found] == [("support", "update", {"name": "Support"})]
    assert (flow.name, flow.domain, flow.examples, flow.streaming) == ("Help desk", "sales", ("Why?",), False)
    assert "# as customers know it" in registry.read_text()


def test_what_somebody_has_written_is_not_overwritten(registry: Path) -> None:
    registry.write_text(registry.read_text().replace("id: poet-1", "id: poet-1\n    rate: 5/s\n    streaming: true"))
    limit = ServerRate(calls=1, period=timedelta(seconds=1))
    (found,) = proposed(listed("Poet", "poet-1", rate=limit, streams=False), catalog=load_catalog(registry))

    # It has no name of its own there: people read its key.
    assert (found.change, found.fields) == ("none", {})


def test_an_archived_flow_is_not_added_again(registry: Path) -> None:
    registry.write_text(registry.read_text() + "archived_flows:\n  old: {id: old-1, domain: creative}\n")

    assert [each.change for each in proposed(listed("Old", "old-1"), catalog=load_catalog(registry))] == ["none"]


def test_flows_of_another_server_are_others(registry: Path, tmp_path: Path) -> None:
    catalog = load_catalog(registry)
    (found,) = proposed(listed("Poet", "poet-1"), catalog=catalog, base="http://other.example")
    write(registry, [found], cwd=tmp_path)

    assert (found.key, found.fields["server"]) == ("poet-2", URL)
    for url in (URL, f"{URL}/", f"{URL}/api/v1"):
        again = proposals(
            load_catalog(registry), [listed("Poet", "poet-1")], url=url, base="http://other.example", domain=None
        )
        assert [(each.key, each.change) for each in again] == [("poet-2", "none")]
    assert [each.key for each in proposed(listed("Poet", "poet-1"), catalog=catalog, base=f"{URL}/")] == ["poet"]


def test_a_registry_that_is_a_list_is_added_to(tmp_path: Path) -> None:
    registry = tmp_path / "list.yaml"
    registry.write_text("operational_flows:\n  - key: poet\n    id: poet-1\n    domain: creative\n")
    write(registry, proposed(listed(), listed("Two", "id-2"), catalog=load_catalog(registry)), cwd=tmp_path)

    assert list(load_catalog(registry).flows) == ["poet", "support", "two"]


def test_a_registry_that_was_changed_meanwhile_is_left_alone(registry: Path, tmp_path: Path) -> None:
    (found,) = proposed(listed(), catalog=load_catalog(registry))

    with pytest.raises(InvalidRegistry, match="changed meanwhile"):
        import_flows(registry, {found.key: found.fields}, {}, head="", cwd=tmp_path, revision="another")
    assert "support" not in registry.read_text()


def test_without_a_registry_a_new_one_has_these_flows_alone(tmp_path: Path) -> None:
    path = write(bundled_registry(), proposed(listed("2024"), listed('Two: # "x"', "id-2")), cwd=tmp_path)

    assert path == tmp_path / ".agentic_flywheel" / "flow-registry.yaml"
    assert list(load_catalog(path).flows) == ["2024", "two-x"]
    assert load_catalog(path).flows["two-x"].name == 'Two: # "x"'
    assert path.read_text().startswith("# From a server.\noperational_flows:\n\n  ")


HOSTILE = st.text(max_size=60) | st.sampled_from(
    [
        "",
        " ",
        "../../x",
        "\x1b[31m",
        "a\x00b",
        "\ud800",
        "\u202etxt",
        "\u200b",
        "null",
        "<<",
        "- a",
        "{a",
        "諸 人",
        "true",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE, HOSTILE), min_size=1, max_size=6))
def test_whatever_a_server_says_the_registry_is_one_and_says_it_once(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, str, str]]
) -> None:
    flows = [
        listed(name, f"id-{number}", category=category, about=FlowPurpose(description=text, starters=(starter,)))
        for number, (name, category, text, starter) in enumerate(said)
    ]
    path = write(bundled_registry(), proposed(*flows), cwd=tmp_path_factory.mktemp("hostile"))
    catalog = load_catalog(path)

    assert sorted(flow.id for flow in catalog.flows.values()) == sorted(each.flow.id for each in flows)
    assert {each.change for each in proposed(*flows, catalog=catalog)} == {"none"}
    assert fault_in(path.read_text()) is None


def test_an_id_that_cannot_be_part_of_an_address_is_left_out() -> None:
    found = proposed(listed("Evil", "../../apikey"), listed("Good", "id-2"))

    assert {each.there.name: each.change for each in found} == {"Evil": "skip", "Good": "add"}


def test_a_text_of_a_megabyte_is_cut_at_once(tmp_path: Path) -> None:
    huge = "word \u202e" * 200_000
    began = time.perf_counter()
    found = proposed(listed(huge, about=FlowPurpose(description=huge, starters=(huge,))))
    path = write(bundled_registry(), found, cwd=tmp_path)

    assert time.perf_counter() - began < 2
    assert path.stat().st_size < 2_000
    assert len(found[0].key) <= 128


def test_a_thousand_flows_are_one_change(registry: Path, tmp_path: Path) -> None:
    flows = [listed(f"Flow {number}", f"id-{number}") for number in range(1000)]
    began = time.perf_counter()
    write(registry, proposed(*flows, catalog=load_catalog(registry)), cwd=tmp_path)

    assert time.perf_counter() - began < 20
    assert len(load_catalog(registry).flows) == 1002


def test_flows_are_selected_by_name_id_or_pattern() -> None:
    flows = [listed("Kunden Service", "id-1"), listed("Poet", "id-2"), listed("Poetry", "id-3")]

    def names(*wanted: str) -> tuple[list[str], list[str]]:
        found, unknown = selected(flows, wanted)
        return [each.flow.id for each in found], unknown

    assert names() == (["id-1", "id-2", "id-3"], [])
    assert names("poet") == (["id-2"], [])
    assert names("Poet*", "kunden-service") == (["id-1", "id-2", "id-3"], [])
    assert names("id-3", "nobody") == (["id-3"], ["nobody"])


def test_proposals_are_plain_data() -> None:
    assert json.dumps([each.fields for each in proposed(listed())])


def test_a_flow_whose_form_names_a_field_twice_keeps_no_other_out(tmp_path: Path) -> None:
    twice = (FormField(name="size"), FormField(name="size", type="number"))
    found = proposed(listed("Odd", "id-2", start="formInput", form=twice), listed())

    assert found[0].fields["active"] is False
    assert found[0].notes[-1] == "not active: its form has two fields of the name 'size': rename one in Flowise"
    catalog = load_catalog(write(tmp_path / "r.yaml", found, cwd=tmp_path))
    assert [(flow.key, flow.active) for flow in catalog.flows.values()] == [("odd", False), ("support", True)]


def test_a_form_that_names_a_field_twice_is_not_taken_over_for_a_flow_that_there_is(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path / "r.yaml", proposed(listed(), listed("Odd", "id-2")), cwd=tmp_path))
    twice = (FormField(name="size"), FormField(name="size"))
    odd, _ = proposed(listed("Odd", "id-2", start="formInput", form=twice), listed(), catalog=catalog, base=URL)

    assert (odd.change, odd.fields) == ("none", {})
    assert "two fields of the name 'size'" in odd.notes[0]


@pytest.mark.parametrize(
    "secret", ["sk-abcdefghijklmnopqrstuvwx", "password=hunter2hunter2", "https://ada:hunter2hunter2@host.example/"]
)
def test_a_secret_in_a_system_prompt_stays_there(secret: str) -> None:
    (found,) = proposed(listed(about=FlowPurpose(prompts=(f"You answer with {secret} at hand. Be brief.",))))

    assert secret not in json.dumps(found.fields)
    assert "hunter2" not in json.dumps(found.fields)
    assert found.fields["description"].startswith("You answer with ")
    assert any("secret is left out" in note for note in found.notes)
