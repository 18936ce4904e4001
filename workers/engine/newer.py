"""Messages that a later version of the application has written: it is given them whole, and they are not run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.engine.envelope import whose_of
from workers.engine.plain_json import write

#: The header in which a message says the version of what wrote it. Messages of other clients have none.
HEADER = "v"


class NewerMessage(NamedTuple):
    """A message of a later version, ready to be put into its queue again."""

    version: int
    task_id: str
    #: The property ``execution``; empty where it has none.
    execution: str
    queue: str
    #: The tag under which this worker has it, and the one that it has in ``text``.
    delivery: str
    tag: str
    text: str


#: Called with each such message.
OnNewer = Callable[[NewerMessage], object]


class NewerMessages:
    """Finds the messages of later versions that this process is given."""

    def __init__(self) -> None:
        #: Registered by the application with its version. It is called on the hub's thread, so it must not block.
        self.on_newer: OnNewer | None = None
        self.version = 0

    def takes(self, message: Any) -> bool:
        """Give a message to the application if a later version has written it. Returns whether it did.

        This worker then holds the message no longer. If the application does nothing, its lease expires.
        """
        version = version_of(message.headers)
        if self.on_newer is None or version is None or version <= self.version:
            return False
        whose = whose_of(message.headers, message.properties)
        if whose is None:
            return False
        delivery, tag = message.delivery_tag, os.urandom(16).hex()
        message.properties["delivery_tag"] = tag
        text = write(message._raw)
        self.on_newer(NewerMessage(version, whose.task_id, whose.execution, message.queue, delivery, tag, text))
        message.forget()
        return True


def version_of(headers: Any) -> int | None:
    """Return the version in a message's headers; None where there is none."""
    version = headers.get(HEADER)
    return version if type(version) is int else None


#: Those of this process.
newer_messages = NewerMessages()
