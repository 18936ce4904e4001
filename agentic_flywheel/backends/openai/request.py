"""Build the body of a chat completion: system text, history, question and images, and the model's settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from agentic_flywheel.backends.bodies import FileContent, FlowUpload, StreamedBody
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.errors import FilesRefused, FlowRefused
from agentic_flywheel.models import MAX_CONTEXT, MAX_QUESTION
from agentic_flywheel.openai_flows import CEILINGS, SETTINGS, unfit_setting

Json = dict[str, Any]

#: Bytes of a request: OpenAI's own limit of the images in one.
MAX_BODY = 50 * 1024 * 1024
#: A question with a profile and a context of its own in front of it.
_LONGEST = MAX_QUESTION + 2 * MAX_CONTEXT + 1_000
_ROLES = {"userMessage": "user", "apiMessage": "assistant"}
# Made once: with other than its defaults, json.dumps makes a new one for every call.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False)
#: Under these names a profile's text comes.
_SYSTEM, _VARIABLES = "systemMessage", "vars"


def settings_of(call: FlowCall) -> tuple[dict[str, JsonValue], tuple[str, ...]]:
    """Return the settings of the model that a call is sent with, and a sentence on each that is not.

    Raises FlowRefused for one that is not acceptable.
    """
    flow = call.flow
    given = {**flow.config, **call.config}
    asked = {name: value for name, value in given.items() if name in SETTINGS}
    if unfit := unfit_setting(asked):
        raise FlowRefused(flow.key, unfit)
    return {**flow.sampling, **asked, **_lowered(flow.sampling, asked)}, tuple(_said(call, given, asked))


def _lowered(sampling: dict[str, JsonValue], asked: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the ceilings of the registry that a query wanted to raise."""
    return {name: most for name in CEILINGS if (most := _ceiling(sampling, asked, name)) is not None}


def _ceiling(sampling: dict[str, JsonValue], asked: dict[str, JsonValue], name: str) -> int | None:
    most, wanted = sampling.get(name), asked.get(name)
    return most if isinstance(most, int) and isinstance(wanted, int) and wanted > most else None


def _said(call: FlowCall, given: dict[str, JsonValue], asked: dict[str, JsonValue]) -> Iterator[str]:
    if unsent := sorted(given.keys() - SETTINGS):
        names = ", ".join(unsent)
        yield f"Not sent: {names}. A query may set {', '.join(sorted(SETTINGS))} at this flow."
    for name in _lowered(call.flow.sampling, asked):
        yield f"{name} stayed {call.flow.sampling[name]}: a query may lower what the registry says, not raise it."
    if _VARIABLES in call.carried:
        yield "The profile's context was not told: a model has no variables. Give the flow `injection: prepend`."


def chat_body(call: FlowCall, *, usage: bool) -> Json:
    """Return the request body of a call, of which the images are left out; the messages are last in it.

    ``usage``: whether a stream is to tell the tokens at its end. Raises FlowRefused for what no server would answer.
    """
    flow = call.flow
    if flow.model is None:
        raise FlowRefused(flow.key, "the registry gives it no `model`")
    if call.form or call.human_input is not None:
        raise FlowRefused(flow.key, "a model is asked questions: it has no form, and stops for nobody")
    if not call.question.strip() and not call.uploads:
        raise FlowRefused(flow.key, "the question is blank")
    if len(call.question) > _LONGEST:
        raise FlowRefused(flow.key, f"the question has {len(call.question)} characters, {_LONGEST} are allowed")
    settings, _ = settings_of(call)
    body: Json = {"model": flow.model, **settings}
    if call.stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    return {**body, "messages": list(_messages(call))}


def _messages(call: FlowCall) -> Iterator[Json]:
    if system := "\n\n".join(filter(None, (call.flow.system.strip(), _of_profile(call)))):
        yield {"role": "system", "content": system}
    for each in call.history:
        yield {"role": _ROLES[each.role], "content": each.content}
    if call.uploads:
        yield {"role": "user", "content": [{"type": "text", "text": call.question}]}
    else:
        yield {"role": "user", "content": call.question}


def _of_profile(call: FlowCall) -> str:
    """Return what a profile adds to the system text; what a query's configuration put in front of it, is left out."""
    told, before = call.carried.get(_SYSTEM), call.config.get(_SYSTEM)
    if not isinstance(told, str):
        return ""
    return told.removeprefix(f"{before}\n\n") if isinstance(before, str) else told


def encoded(call: FlowCall, *, usage: bool = True) -> bytes | StreamedBody:
    """Return the body of a call as JSON. Raises FlowRefused where it is unusable or too large."""
    try:
        body = _ENCODER.encode(chat_body(call, usage=usage)).encode()
    except UnicodeEncodeError:
        raise FlowRefused(call.flow.key, "the question holds half a character") from None
    except ValueError:
        raise FlowRefused(call.flow.key, "a number in the settings is not finite") from None
    streamed = _with_images(call.flow.key, body, call.uploads) if call.uploads else None
    length = streamed.length if streamed else len(body)
    if length > MAX_BODY:
        raise FlowRefused(call.flow.key, f"the request has {length >> 20} MB, {MAX_BODY >> 20} MB are allowed")
    return streamed or body


def _with_images(flow: str, body: bytes, uploads: tuple[FlowUpload, ...]) -> StreamedBody:
    """Return a request's JSON with images behind the question, which is the last thing in it."""
    closing = b"]}]}"
    parts: list[bytes | FileContent] = [body.removesuffix(closing)]
    for upload in uploads:
        _refuse_other(flow, upload)
        address = upload.data if upload.content is None else f"data:{upload.mime};base64,"
        part = _ENCODER.encode({"type": "image_url", "image_url": {"url": address}})
        if upload.content is None:
            parts.append(f",{part}".encode())
        else:
            parts += [f",{part}".removesuffix('"}}').encode(), upload.content, b'"}}']
    return StreamedBody([*parts, closing], content_type="application/json")


def _refuse_other(flow: str, upload: FlowUpload) -> None:
    if upload.type == "url" and not upload.mime.startswith(("audio/", "video/", "text/", "application/pdf")):
        return  # what is at an address, only its server knows
    if not upload.mime.startswith("image/"):
        raise FilesRefused(
            flow, f"{upload.name}: a model takes images, and this is {upload.mime or 'of no known type'}"
        )
