"""``python -m flowise_sandbox`` as a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowUnauthorized, InvalidRegistry
from flowise_sandbox.__main__ import main
from flowise_sandbox.flows import BUNDLED, read_flows

ROOT = Path(__file__).parent.parent.parent
NESTED = """
metadata: {version: 1}
operational_flows:
  primary:
    my-helper:
      id: 11111111-2222-4333-8444-555555555555
      name: My helper
      description: helps
    bundled:
      id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
  draft: {id: not-yet, name: Draft}
routing_flows:
  other: {id: 99999999-2222-4333-8444-555555555555}
"""


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sandbox process and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowise_sandbox", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_serves_and_stops_when_told(stop: signal.Signals, tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(NESTED)
    with running("--registry", str(registry), "--api-key", "secret", "--token-delay", "0.001") as (process, line):
        assert line.startswith("sandbox: http://127.0.0.1:")
        async with FlowiseClient(line.removeprefix("sandbox: ")) as client:
            flow = Flow(key="mine", id="11111111-2222-4333-8444-555555555555", domain="tests")
            answer = await client.predict(FlowCall(flow=flow, question="Where do swallows go?", stream=True))
            with pytest.raises(FlowUnauthorized):
                await client.chatflows.all()
        process.send_signal(stop)
        exit_code = process.wait(timeout=30)

        assert "swallows" in answer.text
        assert exit_code == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_taken_port_is_a_sentence_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        exit_code = main(["--port", str(taken.getsockname()[1])])

    said = capsys.readouterr()
    assert (exit_code, said.out) == (1, "")
    assert said.err.startswith("sandbox: cannot listen at http://127.0.0.1:")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("content", ["flows: [", "just text", "operational_flows: {a: {id: no-uuid}}", None])
def test_an_unusable_registry_is_refused(content: str | None, tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    if content is not None:
        registry.write_text(content)

    with pytest.raises(InvalidRegistry):
        read_flows(registry)


@pytest.mark.parametrize("arguments", [["--registry", "no-such-file.yaml"], ["--latency", "-1"]])
def test_an_unusable_argument_ends_the_command_with_its_reason(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("sandbox: ")


def test_registries_old_and_new_give_their_flows(tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(NESTED)

    flows = {flow.id: flow.name for flow in read_flows(registry)}

    assert flows == {
        "11111111-2222-4333-8444-555555555555": "My helper",
        "896f7eed-342e-4596-9429-6fb9b5fbd91b": "technical-analysis",
        "99999999-2222-4333-8444-555555555555": "other",
    }


def test_the_bundled_registry_names_the_flows_that_the_sandbox_bundles() -> None:
    bundled = ROOT / "agentic_flywheel" / "flow-registry.yaml"

    assert {flow.id for flow in read_flows(bundled)} == {flow.id for flow in BUNDLED}
