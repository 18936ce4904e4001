"""No output shows a secret: not one of the settings, of the registry, or of the configuration that a caller gives.

Commands, tools and resources are those that are registered. What is kept is searched key by key and file by file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bridge_house import ALICE, BROKEN, client_of
from gateway.house import served
from pipeline.house import DOCUMENTS

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.settings import load_settings
from http_gateway.app import build_app
from http_gateway.gateway import Gateway
from mcp_bridge.resources import RESOURCES, TEMPLATES
from mcp_bridge.toolsets import ALL_TOOLS
from person.house import Things, commands, content, nothing, run_command
from person.http_routes import operations
from person.secret_house import CONFIG, SECRET, SecretHouse, with_login
from person.test_walk_http import ways
from producer import AsyncProducer

QUESTION = "Which clause of the contract names the python database?"
#: Commands that go on running, that show nothing, or that change what the others look at.
NOT_WALKED = {
    ("up",), ("demo",), ("worker",), ("mcp",), ("serve",), ("forget",), ("cancel",), ("cache", "clear"), ("pause",),
    ("resume",),
    ("dead-letters", "purge"), ("replay", "report"), ("replay", "diff"), ("replay", "run"),
}  # fmt: skip
#: By the name of an argument. A command whose needed argument is not here fails until it is.
VALUES: dict[str, str] = {
    "question": QUESTION,
    "flow": "document-qa",
    "value": "5",
    "name": "cooking",
    "wait": "30",
    "whose": "alice",
    "token_ids": "none",
    "key": "added",
    "id_": "00000000-0000-4000-8000-0000000000aa",
}


@pytest.fixture(scope="module")
def secret_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretHouse]:
    house = SecretHouse(tmp_path_factory.mktemp("secrets"))
    try:
        worker = house.worker(**house.secrets)
        house.url = house.door("--allow-changes", "--tools", "all", **house.secrets)
        house.ready(worker)
        house.behave(DOCUMENTS, overrides=True)
        house.behave(BROKEN, fault="error_500")
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="module")
def asked(secret_house: SecretHouse) -> list[Things]:
    """What was asked with secrets in its configuration: one query was answered, one has failed."""
    return asyncio.run(_asked(secret_house))


async def _asked(house: SecretHouse) -> list[Things]:
    things = nothing()
    async with AsyncProducer(house.settings, owner="alice") as producer:
        answer = await producer.ask(QUESTION, flow="document-qa", session_id=things.session_id, config=CONFIG, wait=30)
        assert answer.config_used["openAIApiKey"] == "(hidden)"
        failed = await producer.submit("Why?", flow="broken", config=CONFIG)
        with pytest.raises(FlywheelError):
            await producer.wait(failed.query_id, 30)
    async with client_of(house.url, ALICE) as client:
        configured = {"session_id": things.session_id, "config": json.dumps(CONFIG)}
        assert SECRET not in repr(await client.call_tool("flowise_configure", configured))
        batch = {"questions": [QUESTION], "wait_s": 20}
        told = (await client.call_tool("flowise_batch", batch)).structured_content or {}
    answered = things._replace(query_id=answer.query_id, batch_id=told["batch_id"])
    return [answered, answered._replace(query_id=failed.query_id)]


def lines(words: tuple[str, ...], command: Any, things: Things) -> Iterator[list[str]]:
    """Yield a command with all of its arguments that have values, for people and as JSON."""
    values = {**VALUES, "query_id": things.query_id, "query_ids": things.query_id, "session": things.session_id}
    names = {each.name for each in command.params}
    line = [*words]
    for each in command.params:
        assert not each.required or each.name in values, f"say in VALUES what {each.name} is"
        if each.name in values and (each.required or each.name in ("query_ids", "wait", "session", "query_id")):
            line += [*each.opts[:1]] if each.param_type_name == "option" else []
            line.append(values[each.name])
    if "config" in names:
        line += [part for name, value in CONFIG.items() for part in ("--config", f"{name}={json.dumps(value)}")]
        line += ["--flow", "document-qa"]
    line += ["--owner", "alice"] if "owner" in names else []
    yield line
    if "json" in names:
        yield [*line, "--json"]


@pytest.mark.parametrize("words", [each for each, _ in commands() if each not in NOT_WALKED], ids=" ".join)
@pytest.mark.parametrize("reachable", [True, False])
def test_no_command_shows_a_secret(
    words: tuple[str, ...],
    reachable: bool,
    secret_house: SecretHouse,
    asked: list[Things],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow-registry.yaml").write_text(secret_house.registry.read_text())
    for name, value in {**secret_house.secrets, "FLYWHEEL_REGISTRY": "flow-registry.yaml"}.items():
        away = with_login("redis://127.0.0.1:9/0" if "REDIS" in name else "http://127.0.0.1:9")
        monkeypatch.setenv(name, value if reachable or not name.endswith("_URL") else f"{away}?password={SECRET}")

    for things in asked if reachable else asked[:1]:
        for line in lines(words, dict(commands())[words], things):
            assert SECRET not in run_command(line, monkeypatch, capsys), line


def test_no_replay_shows_a_secret(
    secret_house: SecretHouse,
    asked: list[Things],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    for name, value in secret_house.secrets.items():
        monkeypatch.setenv(name, value)

    told = run_command(["replay", "run", "--since", "1h", "--out", str(out), "--json"], monkeypatch, capsys)
    told += run_command(["replay", "report", str(out), "--json"], monkeypatch, capsys)

    assert SECRET not in told
    # What was asked is kept with its configuration, to be asked again.
    kept_for_later = {"items.jsonl", "results.jsonl"}
    assert {each.name for each in out.rglob("*") if each.is_file() and SECRET in each.read_text()} == kept_for_later
    for line in (out / "results.jsonl").read_text().splitlines():
        assert SECRET not in json.dumps(json.loads(line)["outcome"])


async def test_no_tool_and_no_resource_shows_a_secret(secret_house: SecretHouse, asked: list[Things]) -> None:
    async with client_of(secret_house.url, ALICE) as client:
        for things in asked:
            values: dict[str, Any] = {
                **things._asdict(),
                "question": QUESTION,
                "questions": [QUESTION],
                "flow_key": "document-qa",
                "wait_s": 20,
            }
            values["trace_id"] = values["reroute_of"] = things.query_id
            for tool in ALL_TOOLS:
                fields = tool.arguments.model_fields
                given = {name: values[name] for name in fields if name in values}
                given |= {name: "x" for name, field in fields.items() if field.is_required() and name not in given}
                needed = {name: value for name, value in given.items() if fields[name].is_required()}
                for arguments in (given, needed, *({**needed, name: given[name]} for name in given)):
                    told = await client.call_tool(tool.name, arguments)
                    assert SECRET not in repr(told), (tool.name, arguments)
            for uri in [each.uri for each in RESOURCES] + [each.uri_template for each in TEMPLATES]:
                kind = uri.split("/")[2]
                address = uri.replace("{id}", getattr(things, f"{kind}_id")) if "{id}" in uri else uri
                assert SECRET not in repr(await client.read_resource(address)), address
        configured = await client.call_tool("flowise_configure", {"flow_key": "document-qa"})
        assert "openAIApiKey" in repr(configured)
        page = (await client.call_tool("flowise_browse", {"flow_key": "document-qa"})).structured_content or {}
    assert page["editor_url"].startswith(secret_house.flowise_url)


async def test_no_route_shows_a_secret(
    secret_house: SecretHouse, asked: list[Things], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in secret_house.secrets.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    headers = {"Authorization": f"Bearer {ALICE}"}
    async with (
        served(secret_house, monkeypatch, settings=settings.model_dump()) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http,
    ):
        for things in asked:
            for operation in operations(build_app(Gateway(settings))):
                if operation.path in ("/metrics", "/healthz", "/readyz") or operation.method == "DELETE":
                    continue
                for given in ways(operation, things):
                    wanted = given | {name: "document-qa" for name in ("flow", "name", "model") if name in given}
                    told = await http.send(operation.request(http, wanted, {}))
                    assert SECRET not in told.text + str(told.headers), (operation, wanted)


async def test_no_log_and_nothing_that_is_kept_has_a_secret(secret_house: SecretHouse, asked: list[Things]) -> None:
    # Langfuse is away, which is said in the log after some seconds.
    await asyncio.sleep(3)

    home = secret_house.folder / "home"
    files = [each for each in home.rglob("*") if "replays" not in each.relative_to(home).parts]
    for file in [*secret_house.folder.glob("*.log"), *files]:
        assert not file.is_file() or SECRET not in file.read_text(errors="replace"), file
    assert [key for key in secret_house.client.scan_iter(count=1000) if SECRET in kept(secret_house, str(key))] == []


def kept(house: SecretHouse, key: str) -> str:
    """Return what a key holds, but for what is kept to be sent to Flowise: configurations of queries and sessions."""
    if wire.letter_key.of(key):
        return json.dumps({**json.loads(content(house, key)), "query": {}})
    if wire.record_key.of(key):
        return str({**content(house, key), "query": ""})
    if wire.session_key.of(key):
        return str({**content(house, key), "config": ""})
    return str(content(house, key))
