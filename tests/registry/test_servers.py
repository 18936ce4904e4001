"""Servers of flows by name, and flows that are not in Flowise."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest
from pydantic import SecretStr

from agentic_flywheel.catalog import KEYS_OF_BACKENDS, Flow
from agentic_flywheel.registry import add_flow, check_registry, load_catalog, read_registry, update_flow
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings, calls_at_once, flow_server, key_of

from .conftest import GOOD, Write

SERVERS = """\
servers:
  models:
    address: https://llm.example/v1
    backend: openai
    api_key_env: MODELS_KEY
    headers: {X-Team: "${TEAM_TOKEN}"}
    ca_file: house-ca.pem
    concurrency: 8
  other: {address: "http://other.example:3000"}
"""
FLOWS = """\
operational_flows:
  poet:
    id: poet-1
    domain: creative
  helper:
    server: models
    model: qwen/qwen3-8b
    system: Be kind.
    sampling: {temperature: 0.2}
  elsewhere:
    id: far-1
    server: other
  hook:
    backend: http
    server: https://n8n.example
    request: {path: /webhook/ask, body: {question: "{{question}}"}}
    answer: {text: /text}
"""
WHOLE = SERVERS + FLOWS


def test_flows_refer_to_servers_by_their_names(write: Write) -> None:
    path = write(WHOLE)
    flows = load_catalog(path).flows

    models = FlowServer(
        address="https://llm.example/v1",
        backend="openai",
        api_key_env="MODELS_KEY",
        headers={"X-Team": "${TEAM_TOKEN}"},
        ca_file=str(path.parent / "house-ca.pem"),
        concurrency=8,
    )
    helper, elsewhere, hook = flows["helper"], flows["elsewhere"], flows["hook"]
    assert (helper.served_by, helper.server, helper.backend) == (models, models.address, "openai")
    assert (helper.id, helper.model, helper.system, helper.sampling) == (
        "helper", "qwen/qwen3-8b", "Be kind.", {"temperature": 0.2},
    )  # fmt: skip
    assert (elsewhere.backend, elsewhere.server) == ("flowise", "http://other.example:3000")
    assert (hook.backend, hook.server, hook.served_by) == ("http", "https://n8n.example", None)
    settings = Settings(flowise_base_url="http://usual.example", flowise_concurrency=5)
    assert [flow_server(flow, settings).address for flow in flows.values()] == [
        "http://usual.example", models.address, "http://other.example:3000", "https://n8n.example",
    ]  # fmt: skip
    assert [calls_at_once(flow, settings) for flow in flows.values()] == [5, 8, 5, 5]


def test_a_key_goes_to_its_own_server_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_KEY", "of-models")
    settings = Settings(flowise_base_url="http://usual.example", flowise_api_key=SecretStr("of-flowise"))
    keys = {flow.key: key_of(flow, settings) for flow in load_catalog(write(WHOLE)).flows.values()}

    flowise = SecretStr("of-flowise")
    assert keys == {"poet": flowise, "helper": SecretStr("of-models"), "elsewhere": flowise, "hook": None}


def test_a_change_of_what_a_model_is_told_makes_other_answers_and_one_of_its_server_another_catalog(
    write: Write,
) -> None:
    before = load_catalog(write(WHOLE))
    told = load_catalog(write(WHOLE.replace("Be kind.", "Be brief.")))
    moved = load_catalog(write(WHOLE.replace("concurrency: 8", "concurrency: 4")))

    assert told.flows["helper"].revision != before.flows["helper"].revision
    assert moved.flows["helper"].revision == before.flows["helper"].revision
    assert len({before.revision, told.revision, moved.revision}) == 3


def test_answers_of_flowise_that_were_kept_before_are_still_served() -> None:
    flow = Flow(key="poet", id="poet-1", domain="creative", config={"temperature": 0.5}, server="http://a.example")

    assert Flow(key="poet", id="poet-1", domain="creative").revision == "13afa2584f995284"
    assert flow.revision == "ce11899cd0dfba89"


def test_keys_of_other_backends_in_a_registry_of_before_mean_nothing(write: Write) -> None:
    path = write(GOOD.replace("id: poet-1", "id: poet-1\n    model: 4\n    request: none"))

    assert load_catalog(path).flows["poet"] == load_catalog(write(GOOD)).flows["poet"]


def test_a_server_that_is_called_a_number_is_found(write: Write) -> None:
    path = write(WHOLE.replace("  models:", "  7:").replace("server: models", "server: 7"))

    assert load_catalog(path).flows["helper"].server == "https://llm.example/v1"


def test_backends_may_read_the_same_key_of_a_flow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEYS_OF_BACKENDS, "http", ("request", "answer", "system"))
    kind, brief = (
        load_catalog(write(WHOLE.replace("answer: {text: /text}", f"system: {told}\n    answer: {{text: /text}}")))
        for told in ("Be kind.", "Be brief.")
    )

    assert kind.flows["hook"].system == "Be kind."
    assert kind.flows["hook"].revision != brief.flows["hook"].revision


def test_flows_without_an_id_make_a_group(write: Write) -> None:
    grouped = "operational_flows:\n  support:\n" + indent(FLOWS.partition("\n")[2], "  ")
    flows = load_catalog(write(SERVERS + grouped)).flows

    assert list(flows) == ["poet", "helper", "elsewhere", "hook"]
    assert flows["helper"].domain == "support"


@pytest.mark.parametrize(
    ("before", "after", "line", "key", "reason"),
    [
        (
            "server: models",
            "server: modles",
            15,
            "operational_flows.helper.server",
            "no 'modles'; did you mean 'models'?",
        ),
        (
            "id: poet-1",
            "id: poet-1\n    backend: flowise\n    system: m",
            14,
            "operational_flows.poet.system",
            "`backend: openai`, and this flow is of `flowise`",
        ),
        (
            "id: far-1",
            "id: far-1\n    request: {path: /a}",
            21,
            "operational_flows.elsewhere.request",
            "is a key of `backend: http`",
        ),
        (
            "model: qwen/qwen3-8b",
            "name: Helper",
            14,
            "operational_flows.helper.model",
            "is missing: the name of a model",
        ),
        (
            "server: models",
            "server: [models]",
            15,
            "operational_flows.helper.server",
            "should be the name of one of the",
        ),
        (
            "{temperature: 0.2}",
            "{temperature: 9}",
            18,
            "operational_flows.helper.sampling",
            "`temperature` should be a number from 0 to 2",
        ),
        ("    request: {path", "    purpose: {path", 22, "operational_flows.hook.request", "is missing: a mapping"),
        (
            "server: models",
            "server: models\n    backend: http",
            16,
            "operational_flows.helper.backend",
            "should be openai, as that of the server 'models' is",
        ),
        (
            "    server: https://n8n.example\n",
            "",
            22,
            "operational_flows.hook.server",
            "is missing: the name of one of the `servers`",
        ),
        (
            "server: https://n8n.example",
            "server: https://n8n.example?a=b",
            24,
            "operational_flows.hook.server",
            "without `?` and `#`",
        ),
        (
            "backend: http",
            "backend: langflow",
            23,
            "operational_flows.hook.backend",
            "should be flowise, openai or http",
        ),
        (
            "system: Be kind.",
            "form: [{name: a}]",
            17,
            "operational_flows.helper.form",
            "is a key of `backend: flowise`",
        ),
        (
            "address: https://llm.example/v1",
            "address: ftp://llm.example",
            3,
            "servers.models.address",
            "begins with http:// or https://",
        ),
        ("address: https://llm.example/v1", "address: https://", 3, "servers.models.address", "names a host"),
        ("https://llm.example", "https://llm..example", 3, "servers.models.address", "names a host"),
        ("llm.example", f"{'l' * 64}.example", 3, "servers.models.address", "names a host"),
        ("    address: https://llm.example/v1\n", "", 2, "servers.models.address", "is missing: an address"),
        (
            "https://llm.example/v1",
            "https://me:pw@llm.example/v1",
            5,
            "servers.models.api_key_env",
            "both would be the Authorization header",
        ),
        (
            "X-Team:",
            "Authorization:",
            6,
            "servers.models.headers",
            "has an Authorization, and `api_key_env` names a key",
        ),
        ("X-Team:", "Host:", 6, "servers.models.headers", "has a host, which is not given by hand"),
        ("X-Team:", '"X Team":', 6, "servers.models.headers.X Team", "should be a mapping of names to texts"),
        ("${TEAM_TOKEN}", "${team}", 6, "servers.models.headers.X-Team", "names no variable behind `${`"),
        ("concurrency: 8", "concurrency: yes", 8, "servers.models.concurrency", "a whole number of at least 1"),
        (
            "concurrency: 8",
            "concurency: 8",
            8,
            "servers.models.concurency",
            "is not a key of a server; its keys are address",
        ),
        ("backend: openai", "backend: ollama", 4, "servers.models.backend", "should be flowise, openai or http"),
        ("  models:\n", "  my models:\n", 2, "servers.my models", "should have a name of the letters A to Z"),
        (
            '  other: {address: "http://other.example:3000"}',
            "  other: http://other.example",
            9,
            "servers.other",
            "should be a mapping with `address`",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    write: Write, before: str, after: str, line: int, key: str, reason: str
) -> None:
    assert WHOLE.count(before) >= 1
    found = check_registry(write(WHOLE.replace(before, after, 1)))

    assert [(each.line, each.key) for each in found if each.key == key] == [(line, key)]
    assert reason in next(each for each in found if each.key == key).reason
    # What is wrong with a server is said of it alone, not of each of its flows.
    assert len(found) <= 2


def test_servers_are_no_list(write: Write) -> None:
    (fault,) = check_registry(write("servers: [a]\n" + GOOD))

    assert (fault.line, fault.reason) == (1, "should be servers by their names")


def test_a_change_of_a_flow_keeps_the_servers_as_they_are_written(write: Write, tmp_path: Path) -> None:
    path = write(WHOLE.replace("backend: openai", "backend: openai  # the house's"))
    add_flow(path, {"key": "second", "server": "models", "model": "m-2"}, cwd=tmp_path)
    update_flow(path, "helper", {"model": "m-3"}, cwd=tmp_path)

    reading = read_registry(path)
    assert reading.catalog is not None
    assert path.read_text().startswith(dedent(SERVERS).replace("backend: openai", "backend: openai  # the house's"))
    assert [reading.catalog.flows[key].model for key in ("helper", "second")] == ["m-3", "m-2"]
