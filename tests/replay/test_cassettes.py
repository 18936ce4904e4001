"""Cassettes: what Flowise answered is played back, and no secret is ever written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from processes import REPOSITORY
from pydantic import SecretStr

from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowAnswer, FlowCall
from agentic_flywheel.backends.opened import open_backend
from agentic_flywheel.cassettes.cassette import Cassette
from agentic_flywheel.cassettes.exchange import read_request, read_response, with_ids
from agentic_flywheel.cassettes.server import CassetteServer
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowRateLimited, FlowRefused, InvalidSetting, RecordingMissing, ResultsUnreadable
from agentic_flywheel.servers import FlowServer
from flowise_sandbox import Behaviour, RateLimit, SandboxFlow, Style
from flowise_sandbox.server import Sandbox

KEY = SecretStr("sk-management-key-0123456789")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(api_key=KEY.get_secret_value()) as running:
        yield running


def flow_on(sandbox: Sandbox, style: Style = Style.CHAT, **behaviour: object) -> Flow:
    made = sandbox.add(SandboxFlow(id=str(uuid.uuid4()), name=style, style=style), Behaviour.model_validate(behaviour))
    return Flow(key="f", id=made.id, domain="tests")


async def ask(url: str, flow: Flow, question: str, *, stream: bool = False, session: str = "s-1") -> FlowAnswer:
    async with FlowiseClient(url) as client:
        if stream:
            assert await client.chatflows.can_stream(flow)
        call = FlowCall(flow=flow, question=question, stream=stream, chat_id=str(uuid.uuid4()), session_id=session)
        return await client.predict(call, api_key=KEY)


async def test_what_was_recorded_is_played_without_flowise(sandbox: Sandbox, tmp_path: Path) -> None:
    flow, file = flow_on(sandbox), tmp_path / "tape.json"
    with CassetteServer(file, mode="record", flowise_url=f"{sandbox.url}/api/v1/") as recording:
        plain = await ask(recording.url, flow, "What is a lease?")
        streamed = await ask(recording.url, flow, "And a queue?", stream=True)
    await sandbox.close()

    with CassetteServer(file) as playing:
        again = await ask(playing.url, flow, "What is a lease?", session="another-session")
        streamed_again = await ask(playing.url, flow, "And a queue?", stream=True)

    assert plain.text
    assert (again.text, streamed_again.text) == (plain.text, streamed.text)
    assert streamed_again.first_token is not None
    # The ids of this run, not those of the recording: a client can look its own answer up.
    assert again.session_id == "another-session"
    assert again.chat_id != plain.chat_id
    assert not playing.missing


async def test_chat_completions_are_recorded_and_played_too(sandbox: Sandbox, tmp_path: Path) -> None:
    model, file, secret = flow_on(sandbox).id, tmp_path / "tape.json", KEY.get_secret_value()
    flow = Flow(key="f", id="f", domain="tests", backend="openai", model=model, sampling={"max_tokens": 50})

    async def ask_model(url: str, question: str, *, stream: bool) -> FlowAnswer:
        backend = open_backend(FlowServer(address=f"{url}/v1", backend="openai"))
        try:
            return await backend.ask(FlowCall(flow=flow, question=question, stream=stream), api_key=KEY)
        finally:
            await backend.close()

    asked = (("What is a lease?", False), ("And a queue?", True))
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        first = [await ask_model(recording.url, question, stream=stream) for question, stream in asked]
    await sandbox.close()
    with CassetteServer(file) as playing:
        again = [await ask_model(playing.url, question, stream=stream) for question, stream in asked]

    assert all(answer.text for answer in first)
    assert [(answer.text, answer.usage) for answer in again] == [(answer.text, answer.usage) for answer in first]
    assert secret not in file.read_text()
    assert not playing.missing


async def test_no_secret_is_written(sandbox: Sandbox, tmp_path: Path) -> None:
    flow, file, secret = flow_on(sandbox), tmp_path / "tape.json", KEY.get_secret_value()
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        async with FlowiseClient(recording.url) as client:
            await client.chatflows.all(api_key=KEY)
            await client.chatflows.of_key(KEY)
            config = {"openAIApiKey": "sk-other", "temperature": 0.2, "maxOutputTokens": 5}
            await client.predict(FlowCall(flow=flow, question=f"Is {secret} safe?", config=config), api_key=KEY)

    written = file.read_text()
    assert secret not in written
    assert "sk-other" not in written
    assert "uthorization" not in written
    assert '"maxOutputTokens": 5' in written


async def test_a_request_without_a_recording_is_a_clear_error_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    flow, file = flow_on(sandbox), tmp_path / "tape.json"
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        await ask(recording.url, flow, "What is a lease?")

    with CassetteServer(file) as playing:
        with pytest.raises(FlowRefused, match=r"no recording of POST .* asking 'What is a queue\?'") as refused:
            await ask(playing.url, flow, "What is a queue?")
        await ask(playing.url, flow, "What is a lease?")
        with pytest.raises(FlowRefused, match=r"for the 2\. time: 1 recorded"):
            await ask(playing.url, flow, "What is a lease?")

    assert "nearest recorded request is POST" in str(refused.value)
    assert len(playing.missing) == 2
    assert isinstance(playing.missing[0], RecordingMissing)


async def test_only_what_is_missing_is_asked_of_flowise(sandbox: Sandbox, tmp_path: Path) -> None:
    flow, file = flow_on(sandbox), tmp_path / "tape.json"
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        await ask(recording.url, flow, "First?")

    with CassetteServer(file, mode="new", flowise_url=sandbox.url) as server:
        first, second = await ask(server.url, flow, "First?"), await ask(server.url, flow, "Second?")

    assert first.text
    assert second.text
    assert sandbox.counts.questions == {"First?": 1, "Second?": 1}
    assert len(Cassette(file).exchanges) == 2


async def test_failures_are_recorded_too(sandbox: Sandbox, tmp_path: Path) -> None:
    flow, file = flow_on(sandbox, rate_limit=RateLimit(calls=1, seconds=60)), tmp_path / "tape.json"
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        await ask(recording.url, flow, "One?")
        with pytest.raises(FlowRateLimited):
            await ask(recording.url, flow, "Two?")

    with CassetteServer(file) as playing, pytest.raises(FlowRateLimited):
        await ask(playing.url, flow, "Two?")


async def test_what_looks_may_look_as_often_as_it_likes(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "tape.json"
    with CassetteServer(file, mode="record", flowise_url=sandbox.url) as recording:
        async with FlowiseClient(recording.url) as client:
            await client.ping()

    with CassetteServer(file) as playing:
        async with FlowiseClient(playing.url) as client:
            for _ in range(3):
                await client.ping()


async def test_a_flowise_that_is_away_is_not_recorded(tmp_path: Path) -> None:
    with CassetteServer(tmp_path / "tape.json", mode="record", flowise_url="http://127.0.0.1:9") as recording:
        async with aiohttp.ClientSession() as session, session.get(f"{recording.url}/api/v1/ping") as answered:
            assert answered.status == 502

    assert not (tmp_path / "tape.json").exists()


def test_a_file_that_is_no_cassette_and_a_missing_address_are_named(tmp_path: Path) -> None:
    (tmp_path / "tape.json").write_text('{"version": 1, "exchanges": [{"request": 3}]}')

    with pytest.raises(ResultsUnreadable, match="it is no cassette"):
        CassetteServer(tmp_path / "tape.json")
    with pytest.raises(InvalidSetting, match="FLOWISE_BASE_URL"):
        CassetteServer(tmp_path / "new.json", mode="record")


def test_bytes_come_back_as_they_were() -> None:
    for kind in ("text/plain", "text/event-stream", "application/json"):
        body = 'data: {"text": "é漢\\ud800"}\n\ndata: half '.encode() + b"\xe6\xbc"

        kept = read_response(200, kind, None, body)

        stored = json.loads(json.dumps(kept.model_dump(mode="json")))
        assert type(kept).model_validate(stored).body.encode("utf-8", "surrogateescape") == body


def test_ids_are_exchanged_where_a_field_is_so_called_and_nowhere_else() -> None:
    request = read_request("POST", "/x", "chatId=old", b'{"chatId": "old", "question": "old"}')

    assert request.ids == {"chatId": "old"}
    assert request.key == read_request("POST", "/x", "chatId=new", b'{"chatId": "n", "question": "old"}').key
    assert with_ids('{"chatId":"old","text":"old"}', request.ids, {"chatId": "new"}) == '{"chatId":"new","text":"old"}'


TESTS_OF_A_USER = """
import urllib.request, json

def ask(url, question):
    body = json.dumps({"question": question}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer KEY"}
    call = urllib.request.Request(f"{url}/api/v1/prediction/FLOW", body, headers)
    try:
        return json.load(urllib.request.urlopen(call, timeout=10))["text"]
    except urllib.error.HTTPError:
        return ""

def test_it(flowise_cassette):
    assert ask(flowise_cassette.url, "What is a lease?")

def test_another(flowise_cassette):
    ask(flowise_cassette.url, "What is a queue?")
"""


def test_the_fixture_records_plays_and_fails_a_test_whose_request_is_not_recorded(
    sandbox_url: str, tmp_path: Path
) -> None:
    flow = "896f7eed-342e-4596-9429-6fb9b5fbd91b"
    file = tmp_path / "test_mine.py"
    file.write_text(TESTS_OF_A_USER.replace("FLOW", flow).replace("KEY", KEY.get_secret_value()))

    def run(*more: str, **env: str) -> subprocess.CompletedProcess[str]:
        # No other plugin of this environment: each takes its time to load.
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "agentic_flywheel.cassettes.plugin", *more, str(file)]
        kept = {name: value for name, value in os.environ.items() if name != "FLOWISE_BASE_URL"}
        return subprocess.run(
            command, env={**kept, **alone, **env}, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    recorded = run("--cassettes=record", "-k", "test_it", FLOWISE_BASE_URL=sandbox_url)
    played = run()

    assert recorded.returncode == 0, recorded.stdout
    assert "2 passed, 1 error" in played.stdout, played.stdout
    assert "has no recording of POST /api/v1/prediction/" in played.stdout
    assert "--cassettes=record" in played.stdout
    tape = tmp_path / "cassettes" / "test_mine" / "test_it.json"
    assert KEY.get_secret_value() not in tape.read_text()


def test_pytest_runs_in_a_project_whose_own_packages_are_named_as_ours(tmp_path: Path) -> None:
    for name in ("producer", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OURS = True\n")
    (tmp_path / "test_mine.py").write_text("import producer, workers\n\ndef test_it():\n    assert producer.OURS\n")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
