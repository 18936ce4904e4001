"""The commands beside a Langfuse: what they show was read back from it."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from observability.conftest import Observed
from producer import Producer
from producer.cli import main


def test_traces_are_read_back_from_langfuse(
    observed: Observed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment = {"REDIS_URL": observed.house.broker.url, "FLYWHEEL_REGISTRY": str(observed.house.registry)}
    for name, value in {**environment, "FLYWHEEL_HOME": str(tmp_path), **observed.server.environment}.items():
        monkeypatch.setenv(name, value)
    session, word = f"s-{uuid.uuid4().hex}", uuid.uuid4().hex

    def flywheel(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["flywheel", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return capsys.readouterr().out

    def found(*arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in flywheel(*arguments, "--json").splitlines()]

    with Producer(observed.settings, owner="local") as producer:
        answer = producer.ask(f"How do I connect python to the database {word}?", wait=20, session_id=session)
        other = producer.ask("Which python index is small?", wait=20, session_id=session)
        score = producer.score(answer.query_id, 9, comment="just so")
    wait_for(lambda: score.score_id in observed.server.scores, what="the score is at Langfuse")
    observed.trace(other.query_id)

    shown = flywheel("trace", answer.query_id)
    (trace,) = found("trace", answer.query_id)

    assert "Read from Langfuse." in shown
    assert "asked the flow: Technical Analysis" in shown or "asked the flow: technical-analysis" in shown
    assert "score rating: 9  just so" in shown
    assert trace["source"] == "Langfuse"
    assert trace["observations"][0]["output"] == answer.text
    for wish in ([word], ["--min-score", "9", "--session", session], ["--flow", "technical-analysis", word]):
        assert [each["query_id"] for each in found("traces", *wish)] == [answer.query_id]
    assert [each["query_id"] for each in found("thread", session)] == [answer.query_id, other.query_id]
