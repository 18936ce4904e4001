"""The commands that ask servers, of a server that is no Flowise: what they say, and what they say when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agentic_flywheel.registry import load_catalog

from .conftest import Flywheel

KEY = "sk-models-0123456789"
REGISTRY = """\
servers:
  models: {address: "%s/v1", backend: openai, api_key_env: MODELS_KEY}
operational_flows:
  helper:
    server: models
    model: small
    description: Helps with anything
    cache: shared
"""
MODELS = ("small", "big/large-2", "embed")


class ModelServer:
    """Lists models to whoever has the key, or answers with a status."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.body: Any = {"object": "list", "data": [{"id": each, "object": "model"} for each in MODELS]}


@contextmanager
def models() -> Iterator[ModelServer]:
    state = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {KEY}"
            refused = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
            status, body = (state.status, state.body) if known else (401, refused)
            told = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()


@pytest.fixture
def server(apart: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with models() as state:
        (apart / "registry.yaml").write_text(REGISTRY % state.url)
        monkeypatch.setenv("FLYWHEEL_REGISTRY", str(apart / "registry.yaml"))
        monkeypatch.setenv("MODELS_KEY", KEY)
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
        yield state


def test_flows_are_checked_without_a_flowise(bare_flywheel: Flywheel, server: ModelServer) -> None:
    checked = bare_flywheel("flows", "check")
    listed = bare_flywheel("flows", "list")

    assert checked.code == 0, checked.out + checked.err
    assert "✓ helper" in checked.out
    assert "FLOWISE_BASE_URL" not in checked.out + checked.err
    assert "openai" in listed.out


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, {"error": {"message": "not allowed"}}, "The key for flow 'helper' was refused"),
        (500, {"error": {"message": "boom"}}, "boom"),
        (502, "<html>Bad gateway</html>", "could not be reached: it answered with status 502"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_by_check_and_doctor(
    bare_flywheel: Flywheel, server: ModelServer, status: int, body: Any, said: str
) -> None:
    server.status, server.body = status, body
    (report,) = [each for each in bare_flywheel("flows", "check", "--json").objects if "flow" in each]
    doctor = bare_flywheel("doctor", "--json").object["checks"]

    assert any(said in problem for problem in report["problems"]), report["problems"]
    (check,) = [each for each in doctor if each["name"] == "openai"]
    assert check["state"] == "failed"
    assert said in check["found"]
    assert "Flowise" not in check["found"] + check["advice"]
    assert KEY not in json.dumps([report, *doctor])
    assert not [each for each in doctor if each["name"] == "flowise"]


def test_a_server_may_answer_for_models_that_it_does_not_list(bare_flywheel: Flywheel, server: ModelServer) -> None:
    server.body = {"data": [{"id": "another"}]}
    unlisted, doctor = bare_flywheel("flows", "check"), bare_flywheel("doctor", "--json").object["checks"]
    server.body = "<html>Log in</html>"
    page, warned = bare_flywheel("flows", "check"), bare_flywheel("doctor", "--json").object["checks"]

    assert (unlisted.code, page.code) == (0, 0)
    assert "does not list the model 'small'; it lists 1, such as another" in unlisted.out
    assert "the server does not list its models" in page.out
    assert [each["state"] for each in doctor if each["name"] == "openai"] == ["ok"]
    (check,) = [each for each in warned if each["name"] == "openai"]
    assert check["state"] == "failed"
    assert "does not follow the server's protocol" in check["found"]


def test_a_server_that_is_away_is_named(bare_flywheel: Flywheel, server: ModelServer, apart: Path) -> None:
    (apart / "registry.yaml").write_text(REGISTRY % "http://127.0.0.1:9")
    checked, doctor = bare_flywheel("flows", "check"), bare_flywheel("doctor")
    imported = bare_flywheel("flows", "import", "--server", "models", "--select", "*", "--yes")

    assert (checked.code, doctor.code) == (1, 1)
    assert "The server of the flow 'helper' could not be reached" in checked.out
    assert "✗ openai" in doctor.out
    assert "HTTPS_PROXY" not in doctor.out
    assert imported.code != 0
    assert "http://127.0.0.1:9/v1 cannot be asked for its flows" in " ".join(imported.err.split())


def test_a_healthy_server_is_well_to_the_doctor(bare_flywheel: Flywheel, server: ModelServer) -> None:
    (check,) = [each for each in bare_flywheel("doctor", "--json").object["checks"] if each["name"] == "openai"]

    assert check["state"] == "ok"
    assert f"{server.url}/v1" in check["found"]
    assert "has 1 of the registry's flows" in check["found"]


def test_models_become_flows(bare_flywheel: Flywheel, server: ModelServer, apart: Path) -> None:
    arguments = ("flows", "import", "--server", "models")
    unchosen = bare_flywheel(*arguments, "--yes")
    shown = bare_flywheel(*arguments, "--select", "big*", "--select", "small")
    written = bare_flywheel(*arguments, "--select", "big*", "--domain", "large", "--yes")
    again = bare_flywheel(*arguments, "--select", "*large*", "--yes", "--json").objects

    assert unchosen.code == 2
    assert "say which of its models become flows: small, big/large-2, embed" in _flat(unchosen.err)
    assert "+ large-2" in shown.out
    assert "= helper" in shown.out
    assert "Nothing was written; `--yes` writes it" in shown.out
    assert "1 new, 0 changed, 0 as they are" in written.out
    assert "say what people may ask it" in written.out
    flow = load_catalog(apart / "registry.yaml").flows["large-2"]
    assert (flow.model, flow.domain, flow.backend, flow.server) == (
        "big/large-2",
        "large",
        "openai",
        f"{server.url}/v1",
    )
    assert [each.get("change") for each in again] == ["none", None]
    assert (apart / "registry.yaml").read_text().startswith((REGISTRY % server.url).partition("operational")[0])


def test_models_that_the_server_lists_no_more_are_named(
    bare_flywheel: Flywheel, server: ModelServer, apart: Path
) -> None:
    arguments = ("flows", "import", "--server", "models")
    before = (apart / "registry.yaml").read_text()
    server.body = {"data": [{"id": "embed"}]}
    *_, left, summary = bare_flywheel(*arguments, "--select", "*", "--json").objects
    chosen = bare_flywheel(*arguments, "--select", "helper", "--yes")
    told = []
    for listed in (["small:latest"], ["sm*"], []):
        server.body = {"data": [{"id": each} for each in listed]}
        told += bare_flywheel(*arguments, "--select", "*", "--json").objects

    assert (left["flow"], left["id"], left["change"], summary["gone"]) == ("helper", "small", "gone", 1)
    assert "its server does not list its model any more" in chosen.out
    assert "gone" not in [each.get("change") for each in told]
    assert (apart / "registry.yaml").read_text() == before


def test_an_import_says_what_is_missing(
    bare_flywheel: Flywheel, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = bare_flywheel("flows", "import", "--server", "nobody")
    both = bare_flywheel("flows", "import", "--server", "models", "--url", "http://127.0.0.1:9")
    nothing = bare_flywheel("flows", "import", "--server", "models", "--select", "zzz")
    server.body = {"data": []}
    none = bare_flywheel("flows", "import", "--server", "models", "--select", "zzz")
    monkeypatch.delenv("MODELS_KEY")
    keyless = bare_flywheel("flows", "import", "--server", "models", "--select", "small")
    wrong = bare_flywheel("flows", "import", "--server", "models", "--select", "small", "--key", "sk-wrong")

    assert "the registry has no server 'nobody'; it has: models." in _flat(unknown.err)
    assert "the server has its address in the registry" in _flat(both.err)
    assert "the server has no flow of the name or id zzz" in _flat(nothing.err)
    assert "The server lists no flow to take: write its flows into the registry" in _flat(none.err)
    assert "shows its flows only with an API key, and none is set" in _flat(keyless.err)
    assert "MODELS_KEY" in keyless.err
    assert "and refuses this one" in _flat(wrong.err)
    assert KEY not in keyless.err + wrong.err


def _flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())
