"""The answer cache: keys, values, TTLs and statistics.

A key is a hash of everything that determines the answer. So a changed flow has new keys, and a follow-up question has
another key than the same words in another conversation. Values are Redis strings of JSON. A value that a person or
another program stored, JSON or plain text, is served too.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal, assert_never

from pydantic import ValidationError

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import counts_in, read_stored, reading
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.given import FormScalar
from agentic_flywheel.models import Answer, Model, Query, Turn
from agentic_flywheel.prices import FREE
from agentic_flywheel.uploads import Upload

#: Found only in questions that contain code, where upper and lower case differ in meaning.
_CODE = re.compile(r"[`_{}<>\\=]|[a-z][A-Z]")
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
#: Begins the part of our values that other tools read. An answer's texts cannot contain it: JSON escapes their quotes.
_METADATA = ',"_mcp_metadata":'
#: JSON form of a key's parts. A change of it would make every cached answer unreachable.
_WRITE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode
#: Finds the time at which a value was stored, in milliseconds since 1970. Texts cannot match: their quotes are escaped.
_WRITTEN = re.compile(r'"written_ms": ?(\d+)')


def normalise(question: str, match: Literal["exact", "loose"] = "exact") -> str:
    """Return what two writings of the same question have in common.

    Exact: all but the Unicode form, the kind of line ends, and white space around the text. Loose, for prose: white
    space within and, outside code, case do not matter either.
    """
    text = unicodedata.normalize("NFC", question)
    if match == "loose":
        text = " ".join(text.split())
        return text if _CODE.search(text) else text.casefold()
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    # Of several lines the first one's indent tells where it belongs.
    return _BLANK_LINES.sub("", text) if "\n" in text.strip() else text.strip()


def history_digest(turns: tuple[Turn, ...] | list[Turn]) -> str:
    """Return the hash of the turns that a flow is told; empty without turns."""
    return _digest([[turn.question, turn.answer] for turn in turns]) if turns else ""


def generate_cache_key(
    question: str,
    flow: Flow,
    *,
    config: Mapping[str, Any] | None = None,
    context: str = "",
    asker: Asker | None = None,
    form: Mapping[str, FormScalar] | None = None,
    uploads: Sequence[Upload] = (),
) -> str:
    """Return the key of the cached answer to a question.

    ``config`` is the override that the query adds to the flow's own configuration. ``context`` is a digest of
    everything else that is sent: the history, the profile's revision, the owner where the profile is confidential.
    ``asker`` is the query's; it is no part of the key where the flow's answers are shared. ``form`` is what was filled
    in: its text alone, the question, may be that of another form too. ``uploads`` go by their digests.
    """
    question = normalise(question, flow.match)
    whose = None if flow.cache == "shared" else asker
    given = _beside(form or {}, uploads)
    return wire.answer_key(flow.key, _digest([question, flow.revision, dict(config or {}), context, whose, *given]))


def front_digest(query: Query, catalog: Catalog, profile_revision: str = "") -> str:
    """Return the hash that identical queries share before their flow is known."""
    return _digest(
        [
            normalise(query.question),
            query.flow,
            query.domain,
            query.intent,
            query.profile,
            profile_revision,
            query.context,
            query.context_type,
            query.config,
            [message.model_dump() for message in query.history],
            # Whether the flow's answers are for everybody is not known yet.
            query.asker,
            catalog.revision,
            *_beside(query.form, query.uploads),
        ]
    )


def _beside(form: Mapping[str, FormScalar], uploads: Sequence[Upload]) -> list[Any]:
    """Return what a query gives beside its question; nothing for one that gives nothing, as it was ever written."""
    found: list[Any] = [dict(form)] if form else []
    return [*found, [each.identity for each in uploads]] if uploads else found


def get_ttl_for_flow(flow: Flow) -> timedelta:
    """Return how long a cached answer of this flow is fresh; zero where the flow's answers are not cached."""
    return timedelta(0) if flow.cache == "off" else flow.ttl


async def check_cache(batch: Batch, key: str) -> Answer | None:
    """Return the cached answer under a key, marked as cached; None where there is none.

    Raises RecordUnreadable, BrokerUnavailable.
    """
    with reading("cached answer", key):
        stored = await batch.call("GET", key)
        return read_answer(stored, wire.flow_of_answer(key)) if stored else None


async def write_to_cache(batch: Batch, key: str, answer: Answer, flow: Flow, asker: Asker) -> None:
    """Cache an answer for the flow's TTL and its stale time together. Raises BrokerUnavailable.

    Where that is more than the cache may hold, the next query that ends drops what was used least recently.
    """
    value, milliseconds = cache_entry(answer, answer.written(), flow, asker)
    if not milliseconds:
        return
    kept = await scripts.keep_answer(batch, cache_key=key, value=value, cache_ms=milliseconds)
    match kept:
        case scripts.KeepAnswerKept():
            return
        case _:
            assert_never(kept)


def cache_entry(answer: Answer, written: str, flow: Flow, asker: Asker) -> tuple[str, int]:
    """Return the value that is stored for an answer, and its lifetime in milliseconds: TTL and stale time together.

    The lifetime is 0 where the flow's answers are not cached. ``written`` is the answer's JSON,
    ``asker`` who was given it.
    """
    fresh = get_ttl_for_flow(flow)
    if not fresh:
        return "", 0
    value = f"{written[:-1]}{_METADATA}{cache_metadata(answer, flow, asker)}}}"
    return value, int((fresh + flow.stale_while_revalidate).total_seconds() * 1000)


def cache_metadata(answer: Answer, flow: Flow, asker: Asker) -> str:
    """Return the part of a cached value that other tools read (``_mcp_metadata``), as JSON."""
    return json.dumps(
        {
            "flow_used": flow.title,
            "flow_key": flow.key,
            "flow_id": flow.id,
            "session_id": answer.session_id,
            "asker": asker.name,
            "intent_detected": answer.domain,
            "confidence": answer.confidence,
            "config_used": answer.config_used,
            "written_ms": time.time_ns() // 1_000_000,
        },
        ensure_ascii=False,
    )


def metadata_of(stored: str) -> dict[str, Any]:
    """Return the part of a cached value that ``cache_metadata`` made; empty where there is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(stored)
        if isinstance(found, dict) and isinstance(about := found.get("_mcp_metadata"), dict):
            return about
    return {}


def age_of(stored: str, now: int) -> float | None:
    """Return the age of a cached value in seconds at ``now``, nanoseconds since 1970; None where it holds no time."""
    written = _WRITTEN.search(stored)
    return None if written is None else round(max(0.0, now / 1e9 - int(written[1]) / 1e3), 3)


def read_answer(stored: str, flow: str) -> Answer:
    """Return the answer in a cached value. Of a value that we did not write, JSON or plain text, the text is used."""
    served = {"cached": True, "cost": FREE}
    ours, metadata, _ = stored.rpartition(_METADATA)
    if metadata:
        with suppress(ValidationError):
            return read_stored(Answer, ours + "}").model_copy(update=served)
    try:
        value = json.loads(stored)
    except (ValueError, RecursionError):
        value = stored
    if isinstance(value, dict):
        value.pop("_mcp_metadata", None)
        try:
            return Answer.model_validate({**value, **served})
        except ValidationError:
            value = value.get("text") or value.get("response") or value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Answer(query_id="", text=text, flow=flow, domain="", cached=True, cost=FREE)


class CacheStatistics(Model):
    """The cache's counters for one flow since they were last reset."""

    flow: str
    hits: int = 0
    misses: int = 0
    #: Queries that got the answer of another query's call.
    attached: int = 0
    #: Answers served after their TTL, while a new one was computed.
    stale: int = 0
    #: Calls that were saved because identical queries shared one.
    stampedes_avoided: int = 0
    #: Queries that were answered with a cached permanent failure.
    failure_hits: int = 0
    failures: int = 0
    fallbacks: int = 0
    entries: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of queries that needed no call of their own, 0..1; None before the first query."""
        saved = self.hits + self.stale + self.attached
        return saved / (saved + self.misses) if saved + self.misses else None


async def cache_statistics(batch: Batch, flows: list[str]) -> list[CacheStatistics]:
    """Return the statistics of these flows. Scans the keys of all cached answers. Raises BrokerUnavailable."""
    entries = await _entries_by_flow(batch)
    found = []
    for flow in flows:
        with reading("the cache's counters of flow", flow):
            counted = await read_counters(batch, flow)
        found.append(counted.model_copy(update={"entries": len(entries.get(flow, ()))}))
    return found


async def read_counters(batch: Batch, flow: str) -> CacheStatistics:
    """Return what the cache has counted for one flow. Raises BrokerUnavailable."""
    counted = counts_in(await batch.call("HGETALL", wire.stats_key(flow)))
    known = {name: number for name, number in counted.items() if name in CacheStatistics.model_fields}
    return CacheStatistics(flow=flow, **known)


async def clear_cache(batch: Batch, flow: str | None = None) -> int:
    """Delete the cached answers of one flow, or of all. Returns how many were deleted. Raises BrokerUnavailable."""
    entries = await _entries_by_flow(batch)
    keys = [key for name, found in entries.items() if flow in (None, name) for key in found]
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        await batch.call("UNLINK", *some, *map(wire.failure_key, some))
    return len(keys)


async def _entries_by_flow(batch: Batch) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    cursor = "0"
    while True:
        cursor, keys = await batch.call("SCAN", cursor, "MATCH", wire.answer_key("*", "*"), "COUNT", 1000)
        for key in keys:
            found.setdefault(wire.flow_of_answer(key), []).append(key)
        if str(cursor) == "0":
            return found


def _digest(value: Any) -> str:
    return hashlib.sha256(_WRITE(value).encode()).hexdigest()[:32]
