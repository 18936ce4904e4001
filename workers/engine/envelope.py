"""Read a message as it lies in Redis, and refuse what is not a message of Celery and kombu."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from agentic_flywheel.broker import wire
from workers.engine.plain_json import read, write

#: What stands between a message and its queue in a record of the script ``fetch``: an empty exchange.
_BETWEEN = b', "", '

#: Fields that the headers of a task message must have, and that are texts.
_REQUIRED = ("id", "task")
#: Fields that may be missing or null.
_OPTIONAL: Mapping[str, type] = {
    "eta": str,
    "expires": str,
    "retries": int,
    "root_id": str,
    "parent_id": str,
    "timelimit": list,
}


class Whose(NamedTuple):
    """What a message says of its task, as far as it can be read."""

    task_id: str
    #: Name of the task; empty where it cannot be read.
    task: str
    #: The property ``execution`` of a message of ours; empty in other messages.
    execution: str


class MessageUnreadable(Exception):
    """A message is not what Celery and kombu send. ``reason`` contains nothing of its text."""

    def __init__(self, reason: str, whose: Whose | None = None) -> None:
        super().__init__(reason, whose)
        self.reason, self.whose = reason, whose


def open_message(raw: bytes) -> dict[str, Any]:
    """Return a message whose outer fields have the types that kombu and Celery expect. Raises MessageUnreadable."""
    try:
        message = read(raw)
    except ValueError:
        raise MessageUnreadable("it is not JSON") from None
    # What was read from JSON has exactly these types. Every message is looked at, so it takes no call.
    if type(message) is not dict:
        raise MessageUnreadable("it is not a JSON object")
    headers = message["headers"] if "headers" in message else None  # noqa: SIM401
    properties = message["properties"] if "properties" in message else None  # noqa: SIM401
    if type(headers) is not dict:
        raise MessageUnreadable("it has no headers")
    fault = _fault_of(headers) if "task" in headers else None
    if (
        type(properties) is not dict
        or "delivery_info" not in properties
        or type(properties["delivery_info"]) is not dict
    ):
        fault = "it has no properties, or these have no delivery_info"
    if "body" in message and type(message["body"]) is not str:
        fault = fault or "its body is not a text"
    if fault is not None:
        raise MessageUnreadable(fault, whose_of(headers, properties))
    return message


def open_record(record: bytes) -> tuple[str, bytes]:
    """Return the queue and the message of a record that The script ``fetch`` has written. Raises MessageUnreadable."""
    raw, _, queue = record[1:-1].rpartition(_BETWEEN)
    try:
        return str(json.loads(queue)), raw
    except ValueError:
        raise MessageUnreadable("the record of its delivery has another form") from None


def decoded_body(body: str, headers: Any, properties: Any) -> bytes:
    """Return the bytes that the base64 text of a message stands for. Raises MessageUnreadable."""
    try:
        return base64.b64decode(body)
    except ValueError:
        raise MessageUnreadable("its body is not base64", whose_of(headers, properties)) from None


def redelivery(message: dict[str, Any]) -> str:
    """Return the text of a message, marked as kombu marks one that was delivered before, under a new delivery tag.

    So a worker that was stopped and goes on, and acknowledges its delivery, does not acknowledge the next one. The tag
    counts the redeliveries behind ``wire.REDELIVERY_MARK``: ``lua/examine.lua`` finds a delivery by its first tag.
    """
    message["properties"]["delivery_tag"] = _next_tag(message["properties"]["delivery_tag"])
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
    return write(message)


def _next_tag(tag: object) -> str:
    first, mark, times = str(tag).rpartition(wire.REDELIVERY_MARK)
    before, number = (first, int(times)) if mark and times.isdecimal() else (tag, 0)
    return f"{before}{wire.REDELIVERY_MARK}{number + 1}"


def is_task_body(payload: Any) -> bool:
    """Return whether this is the decoded body of a task message: arguments, keyword arguments and callbacks."""
    if type(payload) is dict:
        return "args" in payload  # a form between Celery's protocols 1 and 2, which Celery converts
    if type(payload) is not list or len(payload) != 3:
        return False
    args, kwargs, embedded = payload
    return type(args) is list and type(kwargs) is dict and (embedded is None or type(embedded) is dict)


def whose_of(headers: Any, properties: Any) -> Whose | None:
    """Return whose message has these headers and properties; None where they name no task's id."""
    task_id, task = text_in(headers, "id"), text_in(headers, "task")
    return Whose(task_id, task, text_in(properties, "execution")) if task_id else None


def text_in(fields: Any, name: str) -> str:
    """Return the text in a field; '' where there is none that could be a part of a key's name."""
    value = fields[name] if type(fields) is dict and name in fields else None
    return value if type(value) is str and (value.isascii() or _is_unicode(value)) else ""


def _is_unicode(text: str) -> bool:
    # Half a surrogate pair can be written in JSON, but not in the name of a key.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault_of(headers: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the headers of a task message (Celery's protocol 2), None if nothing is."""
    for name in _REQUIRED:
        if not text_in(headers, name):
            return f"the field {name} of its headers is missing or not a text"
    for name in _OPTIONAL:
        value = headers[name] if name in headers else None  # noqa: SIM401
        if value is not None and not isinstance(value, _OPTIONAL[name]):
            return f"the field {name} of its headers has a wrong type"
    limits = headers["timelimit"] if "timelimit" in headers else None  # noqa: SIM401
    if not limits or limits == [None, None]:
        return None
    if len(limits) != 2 or not all(each is None or isinstance(each, int | float) for each in limits):
        return "the field timelimit of its headers is not a pair of numbers"
    return None
