"""Make a FlowAnswer of a document, by the pointers that the registry gives. Decides only."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from agentic_flywheel.backends.contents import bounded_source, kept_of, name_of
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.http.pointers import NOTHING, at
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.doings import Usage, tokens_of
from agentic_flywheel.errors import FlowFailed, FlowProtocolError
from agentic_flywheel.http_flows import AnswerParts, AnswerPlace, Pointer, UsagePlace

_PAGE = ("<!doctype", "<html")
_EVENTS = "text/event-stream"


def document_of(flow: str, place: AnswerPlace, body: bytes, secrets: Collection[str], kind: str = "") -> Any:
    """Return what the body of a response holds. Raises FlowProtocolError where it is nothing of that kind.

    ``secrets``: what the error may not quote. ``kind``: the content type that the server told.
    """
    if (kind == _EVENTS or place.format == "json") and body.lstrip().startswith((b"data:", b"event:")):
        raise FlowProtocolError(flow, "it is a stream, and the flow's `answer` has no `stream` by which to read it")
    if place.format == "text":
        text = body.decode(errors="replace")
        if text.lstrip()[:9].lower().startswith(_PAGE):
            raise FlowProtocolError(flow, f"it is a page: {clean(text, secrets=secrets)[:100]}")
        return text
    try:
        return decode_json(body)
    except ValueError:
        beginning = clean(body[:600].decode(errors="replace"), secrets=secrets) or "it is empty"
        raise FlowProtocolError(flow, f"it is not JSON: {beginning}") from None


def answer_of(flow: str, place: AnswerParts, document: Any, *, told: str | None = None) -> FlowAnswer:
    """Return the answer whose parts stand in a document.

    ``told``: the text that a stream told before, which counts where the document has none.

    Raises FlowProtocolError where a part is not there or is something else, FlowFailed where the answer is empty.
    """
    text = _text(flow, place, document, told)
    data = None if place.data is None else at(document, place.data)
    if data is not None and not isinstance(data, dict):
        raise FlowProtocolError(flow, _unexpected(place.data or "", data, "an object"))
    if not (text.strip() or data):
        raise FlowFailed(flow, "the flow answered with nothing")
    sources = None if place.sources is None else at(document, place.sources)
    kept = kept_of(sources=[bounded_source(_source(each)) for each in sources] if isinstance(sources, list) else [])
    return FlowAnswer(
        text=text,
        data=data,
        usage=usage_of(place.usage, place.model, document),
        sources=kept.sources,
        warnings=kept.cut,
    )


def has_answer(place: AnswerParts, document: Any) -> bool:
    """Return whether a document has something where the answer should stand."""
    text = NOTHING if place.text is None else at(document, place.text)
    data = NOTHING if place.data is None else at(document, place.data)
    return isinstance(text, str | int | float) or isinstance(data, dict)


def usage_of(place: UsagePlace, model: Pointer | None, document: Any) -> Usage | None:
    """Return the tokens used, None where no number of them is told."""
    places = (place.input, place.output, place.total)
    given, made, total = (0 if each is None else tokens_of(at(document, each)) for each in places)
    if not (given or made or total):
        return None
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=max(total, given + made),
        model=None if model is None else name_of(at(document, model)) or None,
    )


def _text(flow: str, place: AnswerParts, document: Any, told: str | None) -> str:
    found = NOTHING if place.text is None else at(document, place.text)
    if isinstance(found, str) and (found or told is None):
        return found
    if told is not None:
        return told
    if isinstance(found, int | float):
        return json.dumps(found)
    if place.data is not None:
        return ""
    raise FlowProtocolError(flow, _unexpected(place.text or "", found, "a text"))


def _unexpected(pointer: str, found: Any, meant: str) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth", type(None): "null"}
    there = "nothing" if found is NOTHING else kinds.get(type(found), "a number")
    return f"at {pointer!r} stands {there}, not {meant}"


def _source(found: Any) -> dict[str, Any]:
    """Return a source as an object; many services name theirs in a text."""
    return found if isinstance(found, dict) else {"metadata": {"source": found}}
