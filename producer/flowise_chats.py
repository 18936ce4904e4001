"""Delete a person's chats in Flowise: those that are there, and those that it writes after their call was given up.

Flowise goes on with most calls that it is asked to stop. A chat is deleted by its name: without one, Flowise deletes
all chats of a flow.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends.flowise import FlowiseBackend
from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.broker.forgetting import PersonQuery
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowError, FlowTimeout, FlowUnauthorized, ServerUnreachable
from agentic_flywheel.settings import Settings, key_of, server_of

#: Longest wait for chats that may still be written, in seconds.
LONGEST = 30.0
#: Seconds between two looks.
_PAUSE = 1.0
#: Chats that are deleted at once.
_AT_ONCE = 16
#: Failures that every other chat of this server and key would meet.
_OF_THE_SERVER = (ServerUnreachable, FlowTimeout, FlowUnauthorized)


class Chat(NamedTuple):
    """A chat in Flowise."""

    flow_key: str
    #: None where the flow has left the registry.
    flow: Flow | None
    chat_id: str
    #: Whether Flowise may still answer the call, for which nobody waits.
    may_be_written: bool


class Cleared(NamedTuple):
    """What was deleted in Flowise, and what is left there, each with the reason; '' where it may still be written."""

    messages: int
    left: list[tuple[Chat, str]]


def chats_of(queries: Sequence[PersonQuery], catalog: Catalog) -> list[Chat]:
    """Return the chats in Flowise of all calls that were made for these queries."""
    found = []
    for query in queries:
        for key, chat_id in query.chats:
            flow = catalog.flows.get(key)
            if flow is not None and flow.backend != "flowise":
                continue
            recent = flow is not None and time.time() - query.finished < flow.timeout.total_seconds()
            found.append(Chat(key, flow, chat_id, query.given_up and recent))
    return found


def kept_elsewhere(queries: Sequence[PersonQuery], catalog: Catalog) -> Iterator[str]:
    """Yield for each flow elsewhere how many calls its server was sent; nobody here knows what it keeps of them."""
    sent = Counter(key for query in queries for key, _ in query.chats)
    for key, count in sent.items():
        flow = catalog.flows.get(key)
        if flow is not None and flow.backend != "flowise":
            where = without_secrets(flow.server or "")
            yield (
                f"{where}: it was sent {count} calls of the flow {key}. Whether it or its provider keeps them, and how "
                "they are deleted there, its own documentation says."
            )


async def clear(settings: Settings, chats: Sequence[Chat]) -> Cleared:
    """Delete the messages of these chats; where Flowise may still write one, wait for it, at most ``LONGEST`` seconds.

    A server that cannot be reached, or refuses the key, is not asked again.
    """
    backends = Backends(settings)
    try:
        clearing = _Clearing(backends, settings)
        for start in range(0, len(chats), _AT_ONCE):
            await asyncio.gather(*map(clearing.delete, chats[start : start + _AT_ONCE]))
        await clearing.await_late()
    finally:
        await backends.close()
    return Cleared(clearing.messages, clearing.left)


class _Clearing:
    """The chats of one person, while they are deleted."""

    def __init__(self, backends: Backends, settings: Settings) -> None:
        self._backends, self._settings = backends, settings
        self.messages = 0
        self.left: list[tuple[Chat, str]] = []
        self._late: list[Chat] = []
        #: By server and key: why it is not asked again.
        self._closed: dict[tuple[str, object], FlowError] = {}

    async def delete(self, chat: Chat) -> None:
        if chat.flow is None:
            self.left.append((chat, "the flow has left the registry"))
            return
        if chat.flow.server is None and self._settings.flowise_base_url is None:
            self.left.append((chat, "FLOWISE_BASE_URL is not set"))
            return
        door = (server_of(chat.flow, self._settings), key_of(chat.flow, self._settings))
        error = self._closed.get(door)
        if error is None:
            try:
                count = await self._count(chat.flow, chat.chat_id)
            except FlowError as failed:
                error = failed
                if isinstance(failed, _OF_THE_SERVER):
                    self._closed[door] = failed
        if error is not None:
            self.left.append((chat, replace(error, flow=chat.flow_key).message))
            return
        self.messages += count
        if not count and chat.may_be_written:
            self._late.append(chat)

    async def await_late(self) -> None:
        """Delete what Flowise writes within a flow's timeout."""
        await asyncio.gather(*map(self._await, self._late))

    async def _await(self, chat: Chat) -> None:
        assert chat.flow is not None
        loop = asyncio.get_running_loop()
        over = loop.time() + min(LONGEST, chat.flow.timeout.total_seconds())
        written = 0
        while True:
            await asyncio.sleep(_PAUSE)
            count = 0
            with suppress(FlowError):
                count = await self._count(chat.flow, chat.chat_id)
            written += count
            # The question and its answer are two messages: one more look follows.
            if not count and (written or loop.time() > over):
                break
        self.messages += written
        if not written:
            self.left.append((chat, ""))

    async def _count(self, flow: Flow, chat_id: str) -> int:
        backend = self._backends.of(flow)
        assert isinstance(backend, FlowiseBackend)
        return await backend.client.forget(flow, chat_id, api_key=key_of(flow, self._settings))


def told(left: Sequence[tuple[Chat, str]]) -> Iterator[str]:
    """Yield for each flow and reason what is left in Flowise, and the command that deletes it."""
    groups: defaultdict[tuple[str, str], list[Chat]] = defaultdict(list)
    for chat, reason in left:
        groups[chat.flow_key, reason].append(chat)
    for (key, reason), some in groups.items():
        if reason:
            where = f"{len(some)} chats of the flow {key} are still there"
            said = f"{where}: {reason.rstrip('.')}. Once that is mended, run: "
        else:
            said = f"{len(some)} cancelled calls of the flow {key} may still write their chat. In some minutes run: "
        yield f"Flowise: {said}{_command(some)}"


def _command(chats: Sequence[Chat]) -> str:
    flow, ids = chats[0].flow, " ".join(chat.chat_id for chat in chats)
    server = flow.server if flow else None
    root = without_secrets(server).rstrip("/").removesuffix("/api/v1") if server else "$FLOWISE_BASE_URL"
    flow_id = flow.id if flow else "ID-THAT-THE-FLOW-HAD"
    of_server = flow.served_by.api_key_env if flow and flow.served_by else None
    key = (flow.api_key_env if flow else None) or of_server or "FLOWISE_API_KEY"
    return (
        f'for chat in {ids}; do curl -fsS -X DELETE "{root}/api/v1/chatmessage/{flow_id}?chatId=$chat" '
        f'-H "Authorization: Bearer ${key}"; done'
    )
