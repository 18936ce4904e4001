"""Every line of ``flywheel doctor``: what it promises is not said of a stack where it is false."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import pytest
from aiohttp import web
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer
from processes import Process, Valkey, wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.stack import StackInfo
from producer.cli.checkup import clients_of
from producer.cli.checkup_servers import check_flower, check_gateway

from .conftest import Flywheel, RunningStack

LINES = (
    *("python", "packages", "encoder", "stack", "tokens", "registry", "profiles", "grace", "broker", "clock"),
    *("memory", "clients", "disk", "workers", "queries", "flowise", "flower", "gateway", "langfuse", "bridge"),
)


def lines(flywheel: Flywheel) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in flywheel("doctor", "--json").object["checks"]}


def test_these_are_all_lines(flywheel: Flywheel) -> None:
    assert tuple(lines(flywheel)) == LINES


def test_packages_a_version_that_is_not_the_one_needed(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "celery" else known(name))

    packages = lines(bare_flywheel)["packages"]

    assert packages["state"] == "failed"
    assert "celery 0.1 is installed" in packages["found"]


def test_encoder_one_without_its_files(bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    assert "the built-in one" in lines(bare_flywheel)["encoder"]["found"]


def test_stack_a_service_that_has_ended(stack: RunningStack, flywheel: Flywheel) -> None:
    # A state file that names a process which is gone, as between the death of a service and its next start.
    state = stack.home / "up.json"
    before = state.read_text()
    gone = Process([sys.executable, "-c", ""], log=stack.home / "gone.log")
    gone.wait()
    info = StackInfo.model_validate_json(before)
    state.write_text(info.model_copy(update={"pids": {**info.pids, "worker-1": gone.pid}}).model_dump_json())
    try:
        said = lines(flywheel)["stack"]
    finally:
        state.write_text(before)

    assert said["state"] == "warning"
    assert "ended: worker-1" in said["found"]


def test_profiles_a_folder_that_is_not_there(
    bare_flywheel: Flywheel, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_PROFILES", str(apart / "nowhere"))

    said = lines(bare_flywheel)["profiles"]

    assert said["state"] == "warning"
    assert "there is no folder" in said["found"]


def test_settings_that_are_misspelt_or_half_set(bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CONCURENCY", "5")
    monkeypatch.setenv("FLOWISE_API_KEY_2", "of a flow")
    monkeypatch.setenv("LANGFUSE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9")

    said = bare_flywheel("doctor", "--json").object["checks"]

    odd = [(check["state"], check["found"], check["advice"]) for check in said if check["name"] == "settings"]
    assert odd == [
        ("warning", "FLYWHEEL_CONCURENCY is no setting", "is it FLYWHEEL_CONCURRENCY?"),
        (
            "warning",
            "LANGFUSE_BASE_URL is set and LANGFUSE_PUBLIC_KEY is not: traces go to a local file",
            "set LANGFUSE_PUBLIC_KEY",
        ),
    ]
    assert next(check for check in said if check["name"] == "stack")["state"] == "ok"


@pytest.mark.parametrize(("grace", "state"), [("130s", "ok"), ("124s", "warning"), ("10s", "warning")])
def test_grace_that_is_shorter_than_the_flows_may_take(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, grace: str, state: str
) -> None:
    monkeypatch.setenv("FLYWHEEL_GRACE", grace)

    said = lines(bare_flywheel)["grace"]

    assert said["state"] == state
    assert f"here {grace[:-1]} s" in said["found"]
    if state == "warning":
        # Five seconds of the grace are for handing back.
        assert f"finishes calls for {float(grace[:-1]) - 5:g} s" in said["found"]
        assert "more may take longer, up to 120 s" in said["found"]
        assert "FLYWHEEL_GRACE to 125s or more" in said["advice"]


@asynccontextmanager
async def web_server(pages: dict[str, tuple[int, str]]) -> AsyncIterator[int]:
    """Serve these pages at a free port, each with its status."""

    async def page(request: web.Request) -> web.Response:
        status, body = pages.get(request.path, (404, ""))
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def broker(tmp_path: Path, bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """A broker of its own, which REDIS_URL names."""
    server = Valkey(tmp_path / "broker", aof=True).start()
    monkeypatch.setenv("REDIS_URL", server.url)
    yield server
    server.stop()


def test_broker_a_replica_takes_no_queries(broker: Valkey, bare_flywheel: Flywheel) -> None:
    with broker.client() as client:
        client.replicaof("127.0.0.1", "9")

    said = lines(bare_flywheel)["broker"]

    assert said["state"] == "failed"
    assert "a replica" in said["found"]


@pytest.mark.parametrize(("share", "state"), [(2.0, "ok"), (1.05, "warning"), (0.5, "failed")])
def test_memory_a_broker_that_is_full(broker: Valkey, bare_flywheel: Flywheel, share: float, state: str) -> None:
    with broker.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.set("ballast", "x" * 40_000_000)
    # Over another connection: the buffers of that one are gone by now.
    with broker.client() as client:
        used = int(client.info()["used_memory"])
        client.config_set("maxmemory", int(used * share))

    assert lines(bare_flywheel)["memory"]["state"] == state


@pytest.mark.parametrize(("told", "state"), [({}, []), ({"maxclients": 60}, ["ok"]), ({"maxclients": 30}, ["warning"])])
def test_clients_a_broker_that_takes_few_connections(told: dict[str, int], state: list[str]) -> None:
    assert [each.state for each in clients_of({"connected_clients": 10} | told)] == state


@pytest.mark.parametrize(("fsync", "state"), [("always", "ok"), ("everysec", "ok"), ("no", "warning")])
def test_disk_how_often_it_is_written(broker: Valkey, bare_flywheel: Flywheel, fsync: str, state: str) -> None:
    with broker.client() as client:
        client.config_set("appendfsync", fsync)

    said = lines(bare_flywheel)["disk"]

    assert said["state"] == state
    assert f"appendfsync {fsync}" in said["found"]


def test_workers_that_serve_only_some_queues(broker: Valkey, bare_flywheel: Flywheel, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "workers", "--queues", "classify,domain.technical", "--ready-file", str(ready)]
    env = {"FLOWISE_BASE_URL": "http://127.0.0.1:9", "FLYWHEEL_METRICS_PORT": "off"}
    worker = Process(command, log=tmp_path / "worker.log", env=env)
    try:
        wait_for(ready.exists, within=30, what="the worker")
        said = lines(bare_flywheel)["workers"]
        (tmp_path / "faulty.yaml").write_text("operational_flows: [\n")
        os.environ["FLYWHEEL_REGISTRY"] = str(tmp_path / "faulty.yaml")
        unknown = lines(bare_flywheel)["workers"]
    finally:
        os.environ.pop("FLYWHEEL_REGISTRY", None)
        worker.terminate(within=20)

    assert said["state"] == "failed"
    assert "nobody works on synthesis" in said["found"]
    assert "domain.creative.low" in said["found"]
    assert "every queue is served" not in unknown["found"]
    assert unknown["state"] != "ok"


def test_two_workers_of_one_name_are_two_and_those_of_another_application_none(
    broker: Valkey, bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = (wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, *map(wire.domain_queue, ("creative", "documents", "technical")))
    every = [band for base in bases for band in wire.bands(base)]
    replies = [{"a@host": [{"name": name} for name in every]}, {"b@host": []}, {"a@host": []}]
    replies += [{"others@host": [{"name": "celery"}]}]
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_, **__: replies)

    said = lines(bare_flywheel)["workers"]

    assert (said["state"], said["found"]) == (
        "warning",
        "3: a@host, b@host; every queue is served; 2 are called a@host",
    )


def test_queries_in_a_key_that_holds_something_else_and_beside_a_registry_that_cannot_be_read(
    broker: Valkey, bare_flywheel: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also `flywheel audit` looks without a registry: only the messages of a repair are made by it."""
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(tmp_path / "nowhere.yaml"))
    well, looked = lines(bare_flywheel)["queries"], bare_flywheel("audit")
    with broker.client() as client:
        client.set(wire.OPEN, "x")
    said, refused = lines(bare_flywheel)["queries"], bare_flywheel("audit")

    assert (well["state"], looked.code) == ("ok", 0)
    assert bare_flywheel("audit", "--repair").code == 2
    assert said["state"] == "failed"
    assert refused.code == 1
    for text in (said["found"], refused.out):
        assert "key flywheel:open: this key is a string where a zset is expected: another program has written" in text


def test_queries_one_that_nothing_moves(broker: Valkey, bare_flywheel: Flywheel) -> None:
    query_id = bare_flywheel("submit", "Why?").out.strip()
    with broker.client() as client:
        client.delete("classify")
        said = lines(bare_flywheel)["queries"]
        client.delete(wire.record_key(query_id), wire.OPEN)
        client.flushdb()

    assert said["state"] == "failed"
    assert query_id in said["found"]


def test_flowise_one_that_only_a_flow_names(bare_flywheel: Flywheel, apart: Path) -> None:
    bare_flywheel("flows", "add", "far", "--id", "00000000-0000-4000-8000-000000000000", "--example", "Boo?")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        registry = apart / ".agentic_flywheel" / "flow-registry.yaml"
        port = closed.getsockname()[1]
        registry.write_text(registry.read_text().replace("  far:\n", f"  far:\n    server: http://127.0.0.1:{port}\n"))
        checks = bare_flywheel("doctor", "--json").object["checks"]

    (said,) = [each for each in checks if each["name"] == "flowise" and f":{port}" in each["found"]]
    assert said["state"] == "failed"


def test_flower_that_has_ended(stack: RunningStack, flywheel: Flywheel) -> None:
    state = stack.home / "up.json"
    before = state.read_text()
    info = StackInfo.model_validate_json(before)
    state.write_text(info.model_copy(update={"flower_url": "http://127.0.0.1:9"}).model_dump_json())
    try:
        said = lines(flywheel)["flower"]
    finally:
        state.write_text(before)

    assert said["state"] == "warning"


@pytest.mark.parametrize(
    ("status", "body", "state", "found"),
    [
        (200, "OK", "ok", ", started by no stack of this home"),
        (404, "another program", "ok", "no stack has started one, and none answers at "),
    ],
)
async def test_flower_that_no_stack_has_started(status: int, body: str, state: str, found: str) -> None:
    async with web_server({"/healthcheck": (status, body)}) as port:
        said = await check_flower(None, port)

    assert said.state == state
    assert found in said.found
    assert f"http://127.0.0.1:{port}" in said.found


@pytest.mark.parametrize(
    ("status", "body", "state", "found"),
    [
        (200, '{"status":"ready","broker":"up","workers":"living"}', "ok", ", started by no stack of this home"),
        (503, '{"status":"not ready","broker":"away","workers":"unknown"}', "warning", '"broker":"away"'),
        (200, "{}", "ok", "no stack has started one, and none answers at "),
    ],
)
async def test_gateway_that_no_stack_has_started(status: int, body: str, state: str, found: str) -> None:
    async with web_server({"/readyz": (status, body)}) as port:
        said = await check_gateway(None, port)
    nobody = await check_gateway(None, port)

    assert said.state == state
    assert found in said.found
    assert nobody.found == f"no stack has started one, and none answers at http://127.0.0.1:{port}"


@pytest.mark.parametrize(("secret", "state"), [(SECRET_KEY, "ok"), ("sk-lf-wrong", "warning")])
def test_langfuse_keys_that_it_refuses(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, secret: str, state: str
) -> None:
    with LangfuseServer() as server:
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", secret)
        said = lines(bare_flywheel)["langfuse"]

    assert said["state"] == state
    assert ("takes the keys" if state == "ok" else "refuses the keys") in said["found"]
    assert secret not in str(said)


@pytest.mark.parametrize(("version", "state"), [("4.59.0", "ok"), ("4.58.3", "warning"), ("3.169.0", "warning")])
def test_a_langfuse_that_is_too_old(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, version: str, state: str
) -> None:
    with LangfuseServer() as server:
        server.version = version
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET_KEY)
        said = lines(bare_flywheel)["langfuse"]

    assert said["state"] == state
    assert said["found"].endswith(f"it is version {version}")


def test_a_stopped_worker_is_no_worker(broker: Valkey, bare_flywheel: Flywheel, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    env = {"FLOWISE_BASE_URL": "http://127.0.0.1:9", "FLYWHEEL_METRICS_PORT": "off"}
    worker = Process(
        [sys.executable, "-m", "workers", "--ready-file", str(ready)], log=tmp_path / "worker.log", env=env
    )
    try:
        wait_for(ready.exists, within=30, what="the worker")
        well = lines(bare_flywheel)["workers"]
        worker.send(signal.SIGSTOP)
        stopped = lines(bare_flywheel)["workers"]
    finally:
        worker.send(signal.SIGCONT)
        worker.terminate(within=20)

    assert well["state"] == "ok"
    assert stopped["state"] == "failed"
