"""Make a FlowAnswer of a document, by the pointers that the registry gives. Decides only."""

from __future__ import annotations

import json
from typing import Any

from agentic_flywheel.backends.contents import bounded_source, kept_of
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.http.pointers import NOTHING, at
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.errors import FlowFailed, FlowProtocolError
from agentic_flywheel.http_flows import AnswerParts, AnswerPlace, Pointer, UsagePlace
from agentic_flywheel.models import Usage

#: Larger numbers of tokens are no numbers of tokens.
_MOST_TOKENS = 10**12
_PAGE = ("<!doctype", "<html")


def document_of(flow: str, place: AnswerPlace, body: bytes) -> Any:
    """Return what the body of a response holds. Raises FlowProtocolError where it is nothing of that kind."""
    if place.format == "text":
        text = body.decode(errors="replace")
        if text.lstrip()[:9].lower().startswith(_PAGE):
            raise FlowProtocolError(flow, f"it is a page: {clean(text)[:100]}")
        return text
    try:
        return decode_json(body)
    except ValueError:
        beginning = clean(body[:600].decode(errors="replace")) or "it is empty"
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


def usage_of(place: UsagePlace, model: Pointer | None, document: Any) -> Usage | None:
    """Return the tokens used, None where no number of them is told."""
    counted = [_count(document, pointer) for pointer in (place.input, place.output, place.total)]
    if all(each is None for each in counted):
        return None
    given, made, total = (each or 0 for each in counted)
    name = None if model is None else at(document, model)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total or given + made,
        model=name if isinstance(name, str) and name else None,
    )


def _count(document: Any, pointer: Pointer | None) -> int | None:
    found = None if pointer is None else at(document, pointer)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _MOST_TOKENS else None


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
