"""A replayed dataset as an experiment in Langfuse: each item in the trace of the query that asked it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer
from pydantic import SecretStr
from replay.planted import failure, outcome, result, write

from agentic_flywheel.errors import ExperimentRefused, InvalidSetting
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.observation import root_span_id
from producer.replay.experiment import send_experiment
from producer.replay.results import ItemResult


@pytest.fixture
def langfuse() -> Iterator[LangfuseServer]:
    with LangfuseServer() as server:
        server.datasets["capitals"] = [{"datasetId": "dataset-7", "id": f"item-{number}"} for number in range(5)]
        yield server


@pytest.fixture
def settings(langfuse: LangfuseServer, tmp_path: Path) -> Settings:
    secret = SecretStr(SECRET_KEY)
    return Settings(
        langfuse_base_url=langfuse.url, langfuse_public_key=PUBLIC_KEY, langfuse_secret_key=secret, home=tmp_path
    )


def of_item(number: int, **more: Any) -> ItemResult:
    after = failure() if number == 3 else outcome(f"Paris {number}, mail me at me@example.org")
    metadata = {"langfuse_dataset": "capitals", "langfuse_item": f"item-{number}"}
    return result(number, after, expected="Paris", metadata=metadata, **more)


async def test_each_item_is_an_observation_in_the_trace_of_its_query(
    langfuse: LangfuseServer, settings: Settings, tmp_path: Path
) -> None:
    elsewhere = result(9, outcome())
    write(tmp_path / "run" / "results.jsonl", [of_item(1), of_item(2, profile="secret"), of_item(3), elsewhere])

    assert await send_experiment(tmp_path / "run", "prompt-v2", settings) == 3
    assert await send_experiment(tmp_path / "run", "prompt-v2", settings) == 3

    assert len(langfuse.spans) == 3
    assert not langfuse.problems
    first, private, failed = langfuse.spans.values()
    assert (first.trace_id, first.parent) == (f"{1:032x}", root_span_id(f"{1:032x}"))
    named = {name: value for name, value in first.attributes.items() if name.startswith("langfuse.experiment.")}
    experiment_id = named.pop("langfuse.experiment.id")
    assert named == {
        "langfuse.experiment.name": "prompt-v2",
        "langfuse.experiment.dataset.id": "dataset-7",
        "langfuse.experiment.item.id": "item-1",
        "langfuse.experiment.item.root_observation_id": first.span_id,
        "langfuse.experiment.item.expected_output": "Paris",
    }
    # One experiment, whatever the trace; and masked as every trace is.
    assert {each.attributes["langfuse.experiment.id"] for each in (private, failed)} == {experiment_id}
    assert "example.org" not in first.attribute("output")
    assert private.attribute("input") is None
    assert private.attribute("output") is None
    assert failed.is_error


async def test_a_langfuse_that_is_away_or_does_not_know_the_dataset_is_told(
    langfuse: LangfuseServer, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path / "run" / "results.jsonl", [of_item(1)])

    with pytest.raises(InvalidSetting, match="LANGFUSE_PUBLIC_KEY"):
        await send_experiment(tmp_path / "run", "x", Settings(home=tmp_path))
    langfuse.datasets.clear()
    with pytest.raises(ExperimentRefused, match="the dataset capitals is empty"):
        await send_experiment(tmp_path / "run", "x", settings)
    langfuse.datasets["capitals"] = [{"datasetId": "d"}]
    wrong = settings.model_copy(update={"langfuse_traces_path": "nowhere"})
    with pytest.raises(ExperimentRefused, match="status 404"):
        await send_experiment(tmp_path / "run", "x", wrong)
