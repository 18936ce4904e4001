"""The items of a report as JSON inside the page: bounded in size, and escaped so that no text can become markup."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from agentic_flywheel.prices import rounded
from producer.replay.comparing import Change, failed, route_of
from producer.replay.recorded import Recorded
from producer.replay.summary import Summary
from producer.replay.worddiff import word_diff

#: Longest sum of all texts, in characters, so that the page opens quickly.
BUDGET = 6_000_000
_REASON = 300
#: Names of tools, or of sources, that are shown of one outcome.
_NAMES = 10
_BEFORE = {"recorded": "Before", "expected": "Expected", "replay": "Before", "nothing": "Before"}


def embedded(summary: Summary, changes: Sequence[Change], *, trace_base: str | None) -> tuple[str, int]:
    """Return the JSON for the page, and how many of the changes, the first ones, it holds.

    ``trace_base`` is the address of a Langfuse; None: traces are looked at on the command line.
    """
    items: list[dict[str, Any]] = []
    left = BUDGET
    for change in changes:
        item = _item(change, trace_base)
        left -= len(change.question) + len(change.after.text) + (len(change.before.text) if change.before else 0)
        if left < 0 and items:
            break
        items.append(item)
    data = {"against": summary.against, "before": _BEFORE[summary.against], "items": items}
    return as_script_data(data), len(items)


def as_script_data(value: Any) -> str:
    """Return JSON that stands in a ``script`` element of HTML and can neither end it nor begin another.

    It is plain ASCII: control characters, lone surrogates and marks of direction are escapes.
    """
    written = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def trace_link(base: str | None, trace_id: str) -> str | None:
    """Return where Langfuse shows a trace; None where there is no web address to link to."""
    if not base or not trace_id or urlsplit(base).scheme not in ("http", "https"):
        return None
    return f"{base.rstrip('/')}/trace/{quote(trace_id, safe='')}"


def _item(change: Change, trace_base: str | None) -> dict[str, Any]:
    before, after = change.before, change.after
    item: dict[str, Any] = {
        "number": change.number,
        "id": change.id,
        "question": change.question,
        "expected": change.expected,
        "rerouted": bool(change.rerouted),
        "did": [
            (words, list(old or ())[:_NAMES], list(new or ())[:_NAMES])
            for words, changed, old, new in _did(change)
            if changed
        ],
        "same": change.sameness,
        "similarity": change.similarity,
        "asExpected": change.as_expected,
        "scores": [
            [label, verdict.score, old.score if (old := change.scores_before.get(label)) else None, verdict.comment]
            for label, verdict in change.scores.items()
        ],
        "before": _outcome(before, change.characters_before) if before is not None else None,
        "after": _outcome(after, change.characters),
        "query": change.query_id,
        "link": trace_link(trace_base, change.trace_id),
        "linkBefore": trace_link(trace_base, before.trace_id) if before is not None else None,
        "diff": None,
    }
    if before is not None and before.text and after.text and before.text != after.text:
        item["diff"] = word_diff(before.text, after.text)
        # The diff holds both texts.
        item["before"]["text"] = item["after"]["text"] = ""
    return item


def _did(change: Change) -> Iterator[tuple[str, bool | None, tuple[str, ...] | None, tuple[str, ...] | None]]:
    """Yield what flows do beside answering, whether it changed, and the names before and now."""
    before, after = change.before or Recorded(), change.after
    yield "tools", change.tools_changed, before.tools, after.tools
    yield "sources", change.sources_changed, before.sources, after.sources
    yield "stop", change.stop_changed, _stop(before), _stop(after)


def _stop(outcome: Recorded) -> tuple[str, ...]:
    return ("stopped for a person",) if outcome.stopped else ()


def _outcome(outcome: Recorded, characters: int) -> dict[str, Any]:
    return {
        "state": outcome.state,
        "failed": failed(outcome),
        "route": route_of(outcome) or " + ".join(sorted(outcome.domains)),
        "confidence": outcome.confidence,
        "flow": outcome.flow_ms,
        "total": outcome.latency_ms,
        "firstToken": outcome.first_token_ms,
        "tokens": outcome.tokens,
        "cost": rounded(outcome.cost) if outcome.cost is not None else None,
        "cached": outcome.cached,
        "score": outcome.score,
        "errorType": outcome.error_type,
        "error": outcome.error,
        "reason": outcome.reason[:_REASON],
        "text": outcome.text,
        "characters": characters,
        "cut": characters > len(outcome.text),
    }
