"""A Celery task message as the broker keeps it, and the queue that it goes to."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import NamedTuple

#: Returns a text as a JSON string.
quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii

#: What follows a task that nothing follows, as Celery writes it.
NOTHING_FOLLOWS = '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'


def task_id_of(query_id: str, part: str = "") -> str:
    """Return the id of the Celery tasks of a query, or of one part of it."""
    return f"{query_id}-{part}" if part else query_id


class Parcel(NamedTuple):
    """A task message with the queue that it goes to, and its delivery tag."""

    queue: str
    message: str
    tag: str

    @property
    def place(self) -> str:
        """The parcel as the waiting places store it: three lines with tag, queue and message."""
        return f"{self.tag}\n{self.queue}\n{self.message}"


def task_parcel(
    task: str,
    execution: str,
    task_id: str,
    args: str,
    *,
    queue: str,
    version: int,
    root_id: str | None = None,
    shown: str = "",
    follows: str = NOTHING_FOLLOWS,
    group: str = "null",
    group_index: int | None = None,
) -> Parcel:
    """Return a Celery protocol 2 message as kombu's Redis transport stores it in a list.

    ``execution`` names the execution that it moves: scripts read it, and the tag, at the message's end. ``version`` is
    its record's. ``args`` is the JSON array of the task's arguments; Flower displays ``shown`` instead, as prompts are
    users' data. ``task`` and ``queue`` are our own names and need no JSON escapes. ``follows`` and ``group`` are JSON:
    what Celery does after the task, and the id of the chord or group in which it counts.
    Source: Celery documentation, "Message Protocol", version 2; kombu 5.7 ``virtual.Channel.prepare_message``.
    """
    body = base64.b64encode(f"[{args},{{}},{follows}]".encode()).decode()
    own, tag = quoted(task_id), os.urandom(16).hex()
    root, parent = (own, "null") if root_id is None else (quoted(root_id),) * 2
    message = (
        f'{{"body":"{body}","content-encoding":"utf-8","content-type":"application/json","headers":{{"lang":"py",'
        f'"task":"{task}","v":{version},"id":{own},"shadow":null,"eta":null,"expires":null,"group":{group},'
        f'"group_index":{"null" if group_index is None else group_index},"retries":0,'
        f'"timelimit":[null,null],"root_id":{root},"parent_id":{parent},"argsrepr":{quoted(shown)},'
        f'"kwargsrepr":"{{}}","origin":"flywheel","ignore_result":true}},"properties":{{"correlation_id":{own},'
        f'"reply_to":"","delivery_mode":2,"delivery_info":{{"exchange":"","routing_key":"{queue}"}},"priority":0,'
        f'"body_encoding":"base64","execution":{quoted(execution)},"delivery_tag":"{tag}"}}}}'
    )
    return Parcel(queue, message, tag)
