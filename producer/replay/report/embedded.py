"""The items that a report shows, as data inside the page: bounded in size, and unable to be anything but data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from producer.replay.comparing import Change, failed, route_of
from producer.replay.recorded import Recorded
from producer.replay.summary import Summary
from producer.replay.worddiff import word_diff

#: Characters of all texts together: a page that opens at once.
BUDGET = 6_000_000
_REASON = 300
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
        "cached": outcome.cached,
        "score": outcome.score,
        "errorType": outcome.error_type,
        "error": outcome.error,
        "reason": outcome.reason[:_REASON],
        "text": outcome.text,
        "characters": characters,
        "cut": characters > len(outcome.text),
    }
