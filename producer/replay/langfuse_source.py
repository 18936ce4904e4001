"""Read questions from Langfuse, page by page: a dataset's items, or the traces that a filter finds."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from agentic_flywheel.errors import UnusableSource
from agentic_flywheel.models import State
from agentic_flywheel.prices import cost_told
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.archive import ArchiveAway, Wish
from agentic_flywheel.tracing.langfuse_archive import LangfuseArchive
from agentic_flywheel.tracing.observation import Observation
from producer.replay.langfuse_rows import answer_of, of_dataset, of_input
from producer.replay.own import CLIENT
from producer.replay.reads import SHOWN, Problem, Read, item_of
from producer.replay.recorded import ENDED, Recorded
from producer.replay.wanted import Wanted


async def read_dataset(settings: Settings, name: str) -> AsyncIterator[Read]:
    """Yield a dataset's items; ``metadata`` names the dataset and the item, so that a run can be linked to them.

    The input is the question, or an object that holds it; the expected output is the text, or an object that holds it.
    Raises UnusableSource.
    """
    try:
        number = 0
        async for found in _archive(settings, f"dataset:{name}").dataset(name):
            number += 1
            yield _of_dataset(number, name, found)
    except ArchiveAway as away:
        raise UnusableSource(f"dataset:{name}", str(away)) from None


async def read_traces(settings: Settings, wanted: Wanted) -> AsyncIterator[Read]:
    """Yield the queries whose traces are wanted, each with its outcome. Raises UnusableSource."""
    since, until = wanted.bounds(datetime.now(UTC))
    wish = Wish(
        flow=wanted.flow,
        user_id=wanted.user,
        since=since,
        until=until,
        # The bound itself is not below it.
        max_score=None if wanted.score_below is None else math.nextafter(wanted.score_below, 0),
    )
    try:
        number = 0
        async for root in _archive(settings, "traces").walk(wish):
            # A trace without a question is one of a confidential profile.
            if root.input and f"client:{CLIENT}" not in root.tags and _admits(wanted, root.metadata or {}):
                number += 1
                yield _of_trace(number, root)
    except ArchiveAway as away:
        raise UnusableSource("traces", str(away)) from None


def _archive(settings: Settings, source: str) -> LangfuseArchive:
    if settings.langfuse_login is None:
        raise UnusableSource(source, "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set")
    return LangfuseArchive(*settings.langfuse_login)


def _admits(wanted: Wanted, metadata: Mapping[str, Any]) -> bool:
    return (
        (wanted.domain is None or metadata.get("domain") == wanted.domain)
        and (wanted.state is None or metadata.get("state") == wanted.state)
        and (wanted.error_type is None or metadata.get("error_type") == wanted.error_type)
    )


def _of_dataset(number: int, name: str, found: Any) -> Read:
    asked = of_input(found.input)
    if isinstance(asked, str):
        return Problem(number=number, reason=asked, text=json.dumps(found.input)[:SHOWN])
    metadata = found.metadata if isinstance(found.metadata, dict) else {}
    return item_of(number, of_dataset(asked, found.id, name, metadata, answer_of(found.expected_output)))


def _of_trace(number: int, root: Observation) -> Read:
    metadata = root.metadata or {}
    text = root.output if isinstance(root.output, str) else None
    state = ENDED.get(str(metadata.get("state")), "classified")
    confidence = metadata.get("confidence")
    read = item_of(number, {"question": root.input, "id": root.query_id, "session_id": root.session})
    if isinstance(read, Problem):
        return read
    baseline = Recorded(
        query_id=root.query_id,
        trace_id=root.query_id,
        state="classified" if state == State.SUCCEEDED and text is None else state,
        text=text or "",
        flow_keys=(str(metadata["flow"]),) if metadata.get("flow") else (),
        domains=(str(metadata["domain"]),) if metadata.get("domain") else (),
        confidence=float(confidence) if isinstance(confidence, int | float) else None,
        cached=metadata.get("cached") is True,
        cost=cost_told(metadata.get("cost")),
        error_type=str(metadata["error_type"]) if metadata.get("error_type") else None,
        latency_ms=round((root.end - root.start) / 1e6, 3),
        at=datetime.fromtimestamp(root.end / 1e9, UTC),
    )
    return read.model_copy(update={"baseline": baseline})
