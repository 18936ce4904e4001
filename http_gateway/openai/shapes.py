"""The bodies and chunks of chat completions, as OpenAI writes them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import JsonValue

from agentic_flywheel.doings import source_name
from agentic_flywheel.errors import InputRequired
from agentic_flywheel.models import Answer
from http_gateway.streams import frame

#: Most sources that are told, and characters of one address and title.
_MOST_SOURCES, _LONGEST = 50, 2000
#: Where loaders of documents put an address.
_ADDRESSES = ("url", "source", "link")
DONE = frame("[DONE]")


class Shape:
    """One completion: its id, its model and its time are the same in all that is said of it."""

    def __init__(self, query_id: str, model: str, *, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {"id": f"chatcmpl-{query_id}", "created": int(time.time()), "model": model}
        self._query_id = query_id

    def completion(self, text: str, answer: Answer | None = None) -> dict[str, Any]:
        """Return a whole completion. Without an answer it is our own text: the query waits for a person."""
        message = {"role": "assistant", "content": text, "refusal": None, "annotations": annotations_of(answer, text)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**self._head, "object": "chat.completion", "choices": [choice], **self._about(answer)}

    def opening(self) -> bytes:
        """Return the first chunk, which says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        """Return a chunk of the answer's text."""
        return self._chunk({"content": text})

    def closing(self, text: str, answer: Answer | None = None) -> Iterator[bytes]:
        """Yield the chunks after the text: sources, the end, the usage, and the mark of the stream's end.

        Some clients read no further than ``finish_reason``, so the usage stands there too.
        """
        if annotations := annotations_of(answer, text):
            yield self._chunk({"annotations": annotations})
        about = self._about(answer)
        yield self._chunk({}, "stop", about)
        if self._include_usage and "usage" in about:
            yield frame({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": about["usage"]})
        yield DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, about: Mapping[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame({**self._head, "object": "chat.completion.chunk", "choices": [choice], **(about or {})})

    def _about(self, answer: Answer | None) -> dict[str, Any]:
        """Return what is told of an answer beside its text; its usage only where its flow tells it."""
        found: dict[str, Any] = {"query_id": self._query_id}
        if answer is None:
            return {"flywheel": found}
        found |= {"flow": answer.flow, "domain": answer.domain, "cached": answer.cached}
        found |= {"confidence": round(answer.confidence, 4), "explanation": answer.explanation}
        found |= {"warnings": list(answer.warnings)}
        if answer.cost is not None:
            found["cost"] = answer.cost.model_dump(mode="json")
        usage = usage_of(answer)
        return {"usage": usage, "flywheel": found} if usage is not None else {"flywheel": found}


def usage_of(answer: Answer) -> dict[str, int] | None:
    """Return the tokens that an answer cost; None where its flow does not tell. A kept answer cost none."""
    if answer.cached:
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if answer.usage is None:
        return None
    return {
        "prompt_tokens": answer.usage.input_tokens,
        "completion_tokens": answer.usage.output_tokens,
        "total_tokens": answer.usage.total_tokens,
    }


def annotations_of(answer: Answer | None, text: str) -> list[dict[str, Any]]:
    """Return the sources of an answer that have an address. Which words each supports is not known: all of them."""
    found: dict[str, dict[str, Any]] = {}
    for source in answer.sources if answer is not None else ():
        url = _address_of(source)
        if url and len(found) < _MOST_SOURCES:
            cited = {"url": url, "title": _title_of(source)[:_LONGEST] or url, "start_index": 0, "end_index": len(text)}
            found.setdefault(url, {"type": "url_citation", "url_citation": cited})
    return list(found.values())


def _title_of(source: Mapping[str, JsonValue]) -> str:
    """Return what a source is called; its loader's name for it may be its address."""
    metadata = source.get("metadata")
    title = metadata.get("title") if isinstance(metadata, dict) else None
    return title if isinstance(title, str) and title.strip() else source_name(source)


def _address_of(source: Mapping[str, JsonValue]) -> str:
    """Return the address of a source on the web; empty where it has none."""
    metadata = source.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    for name in _ADDRESSES:
        value = about.get(name)
        if isinstance(value, str) and len(value) <= _LONGEST and _is_on_the_web(value):
            return value
    return ""


def _is_on_the_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def text_of(answer: Answer) -> str:
    """Return the text of an answer; a clarification says how to choose where all there is to choose is a model."""
    if answer.kind != "clarify":
        return answer.text
    models = ", ".join(f"`{choice.flow}`" for choice in answer.choices)
    return f"{answer.text}\n\nAsk again with one of these as the model: {models}."


def text_for_person(stop: InputRequired) -> str:
    """Return what is said where a flow has stopped and a person has to decide, after what the flow asks."""
    where = f"/v1/queries/{stop.query_id}"
    return (
        f"The flow {stop.flow} has stopped here and waits for a person's decision. "
        f'To decide: POST {where}/resume with {{"decision": "proceed", "stop": {stop.stop}}}, or with "reject". '
        f"The answer is then at GET {where}."
    )
