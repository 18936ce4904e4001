"""Answers kept for the next one who asks the same: the key, the value, its TTL, and what the cache has saved.

The key is a hash of everything that determines the answer, so a changed flow invalidates by construction and a
follow-up never gets somebody else's answer. Values are plain Redis strings of JSON; a value put there by hand, JSON
or text, is honoured.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.models import Answer, Model, Query, Turn

#: Marks of code, in which upper and lower case differ in meaning.
_CODE = re.compile(r"[`_{}<>\\=]|[a-z][A-Z]")
#: Where what other tools read begins in a value that is ours: no text of it holds such quotes unescaped.
_METADATA = ',"_mcp_metadata":'
#: Parts of a key are written as ever.
_WRITE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode
#: When a cached value was written; quotes inside its texts are escaped.
_WRITTEN = re.compile(r'"written_ms": ?(\d+)')


def normalise(question: str) -> str:
    """Return a question without what does not matter: its Unicode form, white space and, outside code, case."""
    text = " ".join(unicodedata.normalize("NFC", question).split())
    return text if _CODE.search(text) else text.casefold()


def history_digest(turns: tuple[Turn, ...] | list[Turn]) -> str:
    """Return the hash of the turns that a flow remembers; empty without any."""
    return _digest([[turn.question, turn.answer] for turn in turns]) if turns else ""


def generate_cache_key(question: str, flow: Flow, *, config: Mapping[str, Any] | None = None, context: str = "") -> str:
    """Return the key under which an answer is kept.

    ``config`` is the override that the query adds to the flow's own configuration; ``context`` a digest of all else
    that is sent: the history, the profile's revision, the owner where the profile is confidential.
    """
    return wire.answer_key(flow.key, _digest([normalise(question), flow.revision, dict(config or {}), context]))


def front_digest(query: Query, catalog: Catalog, profile_revision: str = "") -> str:
    """Return the hash by which a query is recognised before its flow is known."""
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
            # Who asks under a profile has a front of their own: should it be confidential where the workers are and not
            # here, nobody gets another's answer all the same.
            query.user if query.profile else None,
            catalog.revision,
        ]
    )


def get_ttl_for_flow(flow: Flow) -> timedelta:
    """Return how long an answer of this flow is fresh; zero where its answers are not kept."""
    return flow.ttl if flow.cache else timedelta(0)


async def check_cache(batch: Batch, key: str) -> Answer | None:
    """Return the answer kept under a key, marked as cached; None where there is none. Raises BrokerUnavailable."""
    stored = await batch.call("GET", key)
    return read_answer(stored, flow_of_key(key)) if stored else None


async def write_to_cache(
    batch: Batch, key: str, answer: Answer, flow: Flow, *, config: Mapping[str, Any] | None = None
) -> None:
    """Keep an answer for the flow's TTL and its stale time. Raises BrokerUnavailable."""
    kept = get_ttl_for_flow(flow)
    if not kept:
        return
    value = f"{answer.model_dump_json()[:-1]}{_METADATA}{cache_metadata(answer, flow, config)}}}"
    await batch.call("SET", key, value, "PX", int((kept + flow.stale_while_revalidate).total_seconds() * 1000))


def cache_metadata(answer: Answer, flow: Flow, config: Mapping[str, Any] | None = None) -> str:
    """Return what other tools read beside a cached answer, as JSON."""
    return json.dumps(
        {
            "flow_used": flow.title,
            "flow_key": flow.key,
            "flow_id": flow.id,
            "session_id": answer.session_id,
            "intent_detected": answer.domain,
            "confidence": answer.confidence,
            "config_used": {**flow.config, **(config or {})},
            "written_ms": time.time_ns() // 1_000_000,
        }
    )


def age_of(stored: str, now: int) -> float | None:
    """Return how many seconds old a cached value is at ``now``, nanoseconds since 1970; None where it does not say."""
    written = _WRITTEN.search(stored)
    return None if written is None else round(max(0.0, now / 1e9 - int(written[1]) / 1e3), 3)


def read_answer(stored: str, flow: str) -> Answer:
    """Return the answer in a cached value. A value that is not ours, JSON or plain text, becomes the answer's text."""
    ours, metadata, _ = stored.rpartition(_METADATA)
    if metadata:
        with suppress(ValidationError):
            return Answer.model_validate_json(ours + "}").model_copy(update={"cached": True})
    try:
        value = json.loads(stored)
    except ValueError:
        value = stored
    if isinstance(value, dict):
        value.pop("_mcp_metadata", None)
        try:
            return Answer.model_validate({**value, "cached": True})
        except ValidationError:
            value = value.get("text") or value.get("response") or value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Answer(query_id="", text=text, flow=flow, domain="", cached=True)


def flow_of_key(key: str) -> str:
    """Return the flow that a cache key belongs to."""
    return key.removeprefix(f"{wire.PREFIX}answer:").rpartition(":")[0]


class CacheStatistics(Model):
    """What the cache did for one flow since the counters were reset."""

    flow: str
    hits: int = 0
    misses: int = 0
    #: Callers that were answered by another's call.
    attached: int = 0
    #: Answers served past their TTL while a fresh one was computed.
    stale: int = 0
    #: Calls that attached callers would have made.
    stampedes_avoided: int = 0
    #: Permanent failures answered from memory.
    failure_hits: int = 0
    failures: int = 0
    fallbacks: int = 0
    entries: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of queries that needed no call of their own, 0..1; None before the first."""
        saved = self.hits + self.stale + self.attached
        return saved / (saved + self.misses) if saved + self.misses else None


async def cache_statistics(batch: Batch, flows: list[str]) -> list[CacheStatistics]:
    """Return the statistics of flows. Raises BrokerUnavailable."""
    entries = await _entries_by_flow(batch)
    found = []
    for flow in flows:
        counters: dict[str, str] = await batch.call("HGETALL", wire.stats_key(flow))
        known = {name: int(value) for name, value in counters.items() if name in CacheStatistics.model_fields}
        found.append(CacheStatistics(flow=flow, entries=len(entries.get(flow, ())), **known))
    return found


async def clear_cache(batch: Batch, flow: str | None = None) -> int:
    """Forget the answers of one flow, or of all. Returns how many there were. Raises BrokerUnavailable."""
    entries = await _entries_by_flow(batch)
    keys = [key for name, found in entries.items() if flow in (None, name) for key in found]
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        await batch.call("UNLINK", *some, *(f"{wire.PREFIX}failure:{key}" for key in some))
    return len(keys)


async def _entries_by_flow(batch: Batch) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    cursor = "0"
    while True:
        cursor, keys = await batch.call("SCAN", cursor, "MATCH", f"{wire.PREFIX}answer:*", "COUNT", 1000)
        for key in keys:
            found.setdefault(flow_of_key(key), []).append(key)
        if str(cursor) == "0":
            return found


def _digest(value: Any) -> str:
    return hashlib.sha256(_WRITE(value).encode()).hexdigest()[:32]
