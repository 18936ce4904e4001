"""What Flowise's clients call things: chats, messages, flows. Each name says which session or query is meant."""

from __future__ import annotations

import re
import uuid
from contextlib import suppress

from agentic_flywheel.asker import Asker
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import UnknownFlow

#: In place of a flow: let the classification choose.
AUTO = "auto"
#: RFC 9562, version 4: the other versions are made of times, addresses or names, and the nil UUID of nothing.
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
#: What the widget makes: a random UUID, or a customer's name, `+` and one.
_RANDOM_CHAT = re.compile(rf"(?:[^\s+]{{1,100}}\+)?{_UUID}", re.IGNORECASE)
#: An uploaded file as its text stands in a message: its digest and size. The file itself is kept by the broker.
_REFERENCE = re.compile(r"flywheel-upload:([0-9a-f]{64}):([0-9]{1,10})")
#: A file that a flow made: the query whose answer it belongs to, and its name in Flowise.
_STORED = re.compile(r"([0-9a-f]{32})-(.+)", re.DOTALL)


def flow_named(catalog: Catalog, name: str) -> Flow | None:
    """Return the active flow of this key, or of this id in Flowise; None for ``auto``. Raises UnknownFlow."""
    found = catalog.active.get(name)
    if found is not None:
        return found
    if name == AUTO:
        return None
    by_id = next((flow for flow in catalog.active.values() if flow.id == name), None)
    if by_id is None:
        raise UnknownFlow(name, sorted(catalog.active))
    return by_id


def new_chat() -> str:
    """Return the name of a chat that its client has not named."""
    return str(uuid.uuid4())


def is_random_chat(name: str) -> bool:
    """Return whether nobody can guess a chat's name, so that it may stand for whoever began the chat."""
    return _RANDOM_CHAT.fullmatch(name) is not None


def message_id_of(query_id: str) -> str:
    """Return the id of the message that answers a query: the query's, written as a UUID; of a name that a plain Celery
    client has chosen, a UUID that stands for it."""
    try:
        return str(uuid.UUID(query_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, query_id))


def query_id_of(message_id: str) -> str | None:
    """Return the query that a message answers; None where it is no id of a message."""
    with suppress(ValueError):
        return uuid.UUID(message_id).hex
    return None


def flowise_chat(asker: Asker, chat_id: str) -> str:
    """Return the name under which Flowise is told of a chat where no call of a flow is concerned."""
    return str(uuid.UUID(asker.session_name(chat_id)[:32]))


def reference_to(digest: str, size: int) -> str:
    """Return what stands for a file that the broker keeps."""
    return f"flywheel-upload:{digest}:{size}"


def referred_to(text: str) -> tuple[str, int] | None:
    """Return the digest and the size of the file that a text stands for; None where it stands for none."""
    found = _REFERENCE.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def stored_name(query_id: str, name: str) -> str:
    """Return what a client asks for to get a file that the flow of this query made."""
    return f"{query_id}-{name}"


def stored_in(name: str) -> tuple[str, str] | None:
    """Return the query and the name in Flowise of such a file; None where it is another file."""
    found = _STORED.fullmatch(name)
    return (found[1], found[2]) if found else None
