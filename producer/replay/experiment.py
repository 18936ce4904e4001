"""Show a replay of a Langfuse dataset as an experiment in Langfuse: one observation in each trace names run and item.

Langfuse 4 knows experiments by attributes of observations, as its SDK's experiment runner sends them; the traces
themselves are there already. Source: langfuse SDK 5, ``Langfuse._process_experiment_item``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from agentic_flywheel.cutting import cut
from agentic_flywheel.errors import ExperimentRefused, InvalidSetting
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.archive import ArchiveAway
from agentic_flywheel.tracing.langfuse_archive import LangfuseArchive
from agentic_flywheel.tracing.langfuse_sink import LangfuseSink
from agentic_flywheel.tracing.observation import Observation, derive_span_id
from agentic_flywheel.tracing.otlp import constant_attributes, encode_span
from agentic_flywheel.tracing.sink import Text, next_wait
from agentic_flywheel.tracing.text import as_text, load_mask, masked
from producer.replay.results import ItemResult
from producer.replay.results_file import read_results, results_path

#: Where experiments of Langfuse's own SDK are.
_ENVIRONMENT = "sdk-experiment"
_NAME = "experiment-item-run"


async def send_experiment(replay: Path, run: str, settings: Settings) -> int:
    """Send a replay as the experiment ``run`` of its dataset; return how many items. Sent again, it is the same one.

    Items that come from no dataset, or were not asked, are left out. Raises ResultsUnreadable, InvalidSetting without
    Langfuse's keys, ExperimentRefused.
    """
    login = settings.langfuse_login
    if login is None:
        raise InvalidSetting("LANGFUSE_PUBLIC_KEY", "an experiment needs Langfuse's address and keys")
    text = _text(settings)
    datasets: dict[str, str] = {}
    sink = LangfuseSink(*login, path=settings.langfuse_traces_path, version=version("agentic-flywheel"))
    sent = 0
    batch: list[bytes] = []
    try:
        for result, dataset, item_id in _of_datasets(results_path(replay)):
            if dataset not in datasets:
                datasets[dataset] = await _dataset_id(LangfuseArchive(*login), dataset, run)
            batch.append(_span(result, run, datasets[dataset], item_id, text))
            if len(batch) >= sink.batch_count or sum(map(len, batch)) >= sink.batch_bytes:
                sent += await _deliver(sink, batch, run)
                batch = []
        if batch:
            sent += await _deliver(sink, batch, run)
    finally:
        sink.close()
    return sent


def _of_datasets(results: Path) -> Iterator[tuple[ItemResult, str, str]]:
    for result in read_results(results):
        dataset, item_id = (result.item.metadata.get(name) for name in ("langfuse_dataset", "langfuse_item"))
        if result.query_id and isinstance(dataset, str) and isinstance(item_id, str):
            yield result, dataset, item_id


async def _dataset_id(archive: LangfuseArchive, name: str, run: str) -> str:
    try:
        async for item in archive.dataset(name):
            return item.dataset_id
    except ArchiveAway as away:
        raise ExperimentRefused(run, str(away)) from None
    raise ExperimentRefused(run, f"the dataset {name} is empty, or there is none")


def _span(result: ItemResult, run: str, dataset_id: str, item_id: str, text: Text) -> bytes:
    item, after = result.item, result.outcome
    span_id = derive_span_id(result.query_id, "experiment", run)
    # Questions under a confidential profile are not sent.
    private = item.profile is not None
    failed = after.error_type is not None
    seen = Observation(
        query_id=result.query_id,
        name=_NAME,
        type="span",
        start=_nanoseconds(result.started),
        end=max(_nanoseconds(result.started), _nanoseconds(result.ended)),
        span_id=span_id,
        input=None if private else item.question,
        output=None if private else after.text or None,
        metadata={"dataset_item_id": item_id, "experiment_name": run},
        level="ERROR" if failed else None,
        message=f"{after.error_type}: {after.error}" if failed else None,
    )
    named = {
        "langfuse.environment": _ENVIRONMENT,
        "langfuse.experiment.id": hashlib.sha256(f"{dataset_id}\0{run}".encode()).hexdigest()[:16],
        "langfuse.experiment.name": run,
        "langfuse.experiment.dataset.id": dataset_id,
        "langfuse.experiment.item.id": item_id,
        "langfuse.experiment.item.root_observation_id": span_id,
        "langfuse.experiment.item.expected_output": text(item.expected) if item.expected and not private else None,
    }
    return encode_span(seen, text, constant=constant_attributes(named))


def _text(settings: Settings) -> Text:
    mask = load_mask(settings.trace_mask)
    return lambda value: masked(cut(as_text(value), settings.trace_io_limit), mask)


async def _deliver(sink: LangfuseSink, batch: list[bytes], run: str) -> int:
    attempt = 1
    while True:
        outcome = await asyncio.to_thread(sink.send, batch)
        if outcome.kind == "delivered":
            return len(batch) - outcome.rejected
        if outcome.kind == "too_large" and len(batch) > 1:
            half = len(batch) // 2
            return await _deliver(sink, batch[:half], run) + await _deliver(sink, batch[half:], run)
        wait = next_wait(attempt, outcome.wait) if outcome.kind == "again" else None
        if wait is None:
            raise ExperimentRefused(run, outcome.reason)
        await asyncio.sleep(wait)
        attempt += 1


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
