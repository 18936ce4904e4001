"""Build the body of a prediction. Flowise validates next to nothing, so this does, before anything is sent."""

from __future__ import annotations

import json
from typing import Any

from pydantic import JsonValue

from agentic_flywheel.backends.bodies import StreamedBody, with_uploads
from agentic_flywheel.backends.models import FlowCall, overridden
from agentic_flywheel.errors import FlowRefused
from agentic_flywheel.given import FormScalar
from agentic_flywheel.models import MAX_CONTEXT, MAX_QUESTION

#: Flowise's own limit (FLOWISE_FILE_SIZE_LIMIT).
MAX_BODY = 50 * 1024 * 1024
#: A question with a profile and a context of its own in front of it.
_LONGEST = MAX_QUESTION + 2 * MAX_CONTEXT + 1_000
#: JavaScript has every whole number up to this one.
_LARGEST_EXACT = 2**53 - 1
# Made once: with other than its defaults, json.dumps makes a new one for every call.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def effective_config(call: FlowCall) -> dict[str, JsonValue]:
    """Return the ``overrideConfig`` of a call without its session: the flow's own, overridden by the call's."""
    return overridden(call.flow.config, {**call.config, **call.carried})


def prediction_body(call: FlowCall) -> dict[str, Any]:
    """Return the request body of a call.

    Raises FlowRefused for what Flowise would answer with "undefined", with a 500, or not at all.
    """
    flow = call.flow.key
    if not call.question.strip() and not call.form and call.human_input is None:
        raise FlowRefused(flow, "the question is blank")
    if len(call.question) > _LONGEST:
        raise FlowRefused(flow, f"the question has {len(call.question)} characters, {_LONGEST} are allowed")
    config = effective_config(call)
    if "sessionId" in config:
        # Flowise always honours it: as configuration it would open somebody else's conversation.
        raise FlowRefused(flow, "the session is given by session_id, not by the configuration")

    body: dict[str, Any] = {}
    # Flowise refuses both together.
    if call.form:
        body["form"] = {name: _exact(value) for name, value in call.form.items()}
    elif call.question:
        body["question"] = call.question
    if call.stream:
        body["streaming"] = True
    if call.chat_id is not None:
        body["chatId"] = call.chat_id
    if call.session_id is not None:
        # A sessionId at the top level is ignored.
        config["sessionId"] = call.session_id
    if config:
        body["overrideConfig"] = config
    if call.history:
        body["history"] = [{"role": each.role, "content": each.content} for each in call.history]
    if call.human_input is not None:
        given = call.human_input
        human: dict[str, Any] = {"type": given.type}
        if given.start_node_id is not None:
            human["startNodeId"] = given.start_node_id
        if given.feedback is not None:
            human["feedback"] = given.feedback
        body["humanInput"] = human
    return body


def _exact(value: FormScalar) -> FormScalar:
    """Return a value as Flowise keeps it: JavaScript would round a larger number, and makes a text of each anyway."""
    return str(value) if isinstance(value, int) and abs(value) > _LARGEST_EXACT else value


def encoded(call: FlowCall) -> bytes | StreamedBody:
    """Return the body of a call as JSON. Raises FlowRefused where it is unusable or too large."""
    try:
        body = _ENCODER.encode(prediction_body(call)).encode()
    except ValueError:
        raise FlowRefused(call.flow.key, "a number in the configuration or form is not finite") from None
    streamed = with_uploads(body, call.uploads) if call.uploads else None
    length = streamed.length if streamed else len(body)
    if length > MAX_BODY:
        raise FlowRefused(call.flow.key, f"the request has {length >> 20} MB, {MAX_BODY >> 20} MB are allowed")
    return streamed or body
