"""Judge what a client sent before the protocol reads it: each fault has the answer that JSON-RPC has for it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from mcp_types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, JSONRPCNotification, jsonrpc_message_adapter
from pydantic import ValidationError

from agentic_flywheel.once import GivenTwice, once
from agentic_flywheel.texts import fault_in_value
from agentic_flywheel.weighing import TOO_MANY, divided

#: Bytes at both ends of a message that is too long in which its id is looked for.
ENDS = 200
#: Where clients put a request's id: before everything else, or behind it.
_ID = rb'"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15}|"[\w-]{1,100}")\s*'
_FIRST, _LAST = re.compile(rb"\s*\{\s*" + _ID + rb","), re.compile(rb",\s*" + _ID + rb"\}\s*$")


class MessageFault(NamedTuple):
    """Why something is no message, as JSON-RPC tells it."""

    code: int
    message: str
    #: The id of what should have been a request; None where it has none that can be told.
    request_id: str | int | None = None

    @property
    def response(self) -> dict[str, Any]:
        """The JSON-RPC response that tells it."""
        error = {"code": self.code, "message": self.message}
        return {"jsonrpc": "2.0", "id": self.request_id, "error": error}


def too_long(begin: bytes, end: bytes, most: int) -> MessageFault:
    """Return the fault of a message of more than ``most`` bytes, of which its first and last ``ENDS`` are known.

    Its id is told where it can be read: a client that is told none would wait for the answer until its time is up.
    """
    found = _FIRST.match(begin) or _LAST.search(end)
    code = PARSE_ERROR if found is None else INVALID_REQUEST
    return MessageFault(code, f"a message of more than {most:,} bytes", json.loads(found[1]) if found else None)


def fault_of(raw: bytes) -> MessageFault | None:
    """Return why something is no message; None for a message."""
    if divided(raw) is None:
        # Not even its id is read.
        return MessageFault(INVALID_REQUEST, f"Invalid request: {TOO_MANY}")
    try:
        found = json.loads(raw.decode(), object_pairs_hook=once, parse_constant=_no_number)
    except GivenTwice as twice:
        return MessageFault(INVALID_PARAMS, f"Invalid params: {twice}", _id(_read(raw)))
    except (ValueError, RecursionError) as refused:
        why = "it is nested too deeply" if isinstance(refused, RecursionError) else str(refused)
        return MessageFault(PARSE_ERROR, f"Parse error: {why}")
    try:
        message = jsonrpc_message_adapter.validate_json(raw, by_name=False)
    except ValidationError as refused:
        fault = refused.errors(include_input=False, include_url=False)[0]
        if fault["type"] == "json_invalid" and (told := fault_in_value(found)):
            # JSON, but with text or depth that no query may have: a client that is told no id would wait for ever.
            return MessageFault(INVALID_PARAMS, f"Invalid params: {told}", _id(found))
        if fault["type"] == "json_invalid":
            return MessageFault(PARSE_ERROR, f"Parse error: {fault['msg']}")
        return MessageFault(INVALID_REQUEST, "Invalid request: this is no JSON-RPC 2.0 message", _id(found))
    # With an id of another type a request looks like a notification, which nobody answers.
    if isinstance(message, JSONRPCNotification) and "id" in found:
        return MessageFault(INVALID_REQUEST, "Invalid request: an id is a text or a whole number")
    return None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _read(raw: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(raw)
    return None


def _id(found: Any) -> str | int | None:
    """Return the id of what should have been a request."""
    given = found.get("id") if isinstance(found, dict) else None
    return given if isinstance(given, str | int) and not isinstance(given, bool) and not fault_in_value(given) else None
