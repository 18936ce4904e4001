"""Forget a person: everywhere in Redis, in the trace files, and in Flowise. What could not be reached is said."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agentic_flywheel.broker import forgetting, wire
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.forgetting import Belongings, Person
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import BrokerRefused
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Model, State
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.forgetting import forget_lines
from producer.flowise_chats import chats_of, clear, kept_elsewhere, told

#: Seconds for which workers may go on with what was cancelled.
_PATIENCE = 20.0
#: Seconds after which a process has written the observations of a query that has ended.
_TRACED = 3.0


class Forgotten(Model):
    """What was deleted, and what was not."""

    owner: str
    user: str | None
    session_id: str | None
    cancelled: int
    #: How many of what kind.
    deleted: dict[str, int]
    #: Whether something is left in Flowise, or a worker or Flowise may still write something of the person.
    unfinished: bool
    #: What could not be reached, and what to do about each, a sentence each.
    left: tuple[str, ...]


async def forget(settings: Settings, catalog: Catalog, person: Person) -> Forgotten:
    """Delete what is known of a person; open queries are cancelled first. Doing it again finds what is left.

    Raises BrokerUnavailable, BrokerRefused.
    """
    batch = Batch(connect(settings.redis_url, prefix=settings.key_prefix, undecodable="replace"))
    try:
        return await _forget(batch, settings, catalog, person)
    finally:
        await batch.close()


async def _forget(batch: Batch, settings: Settings, catalog: Catalog, person: Person) -> Forgotten:
    left: list[str] = []
    found = await forgetting.find(batch, person)
    cancelled = await forgetting.cancel(batch, found.open)
    idle = await _over(partial(forgetting.running, batch, found.queries))
    if not idle:
        left.append("A worker still calls a flow for a query that was cancelled: run this again in a minute.")
    # A call that was made meanwhile is known now.
    found = await forgetting.find(batch, person)
    deleted: Counter[str] = Counter()
    chats = chats_of(found.queries, catalog)
    cleared = await clear(settings, chats)
    deleted["messages in Flowise"] = cleared.messages
    left += told(cleared.left)
    left += kept_elsewhere(found.queries, catalog)
    in_flowise = {chat.chat_id for chat in chats}
    ended_badly = (each for each in found.queries if each.state == State.FAILED or each.given_up)
    if lost := sum(chat_id in in_flowise for each in ended_badly for _, chat_id in each.chats):
        left.append(
            f"Flowise: {lost} calls of queries that failed or were stopped. Of an AgentFlow it may keep an execution "
            "of each with the question and its files: delete it on its page of executions."
        )
    traces = [trace_id_of(each.query_id) for each in found.queries]
    deleted += await forgetting.delete(batch, person, found)
    deleted["observations in trace files"] = await _in_files(settings, person, found, left)
    await _rewrite_disk(batch, left)
    left += _langfuse(settings, person, traces)
    left += (
        f"What stands in {each!r} cannot be read, so nobody knows whose it is: look at it, and delete it by hand."
        for each in found.unreadable
    )
    if unreadable := await batch.call("LLEN", wire.UNREADABLE):
        left.append(f"{unreadable} messages that no worker could read: nobody knows whose they are.")
    if any(each.state == State.FAILED for each in found.queries):
        left.append(
            "Logs of workers, and Flower, may quote why a flow failed, with words of the question: "
            "delete the logs of that time, and restart Flower."
        )
    left.append("Files that replays wrote, and answers that programs fetched, are where they were put.")
    return Forgotten(
        owner=person.asker.owner,
        user=person.asker.user,
        session_id=person.session_id,
        cancelled=cancelled,
        deleted={name: number for name, number in deleted.items() if number},
        unfinished=bool(cleared.left) or not idle,
        left=tuple(left),
    )


async def _over(busy: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until something is over; return whether that came in time."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PATIENCE
    while await busy():
        if loop.time() > give_up:
            return False
        await asyncio.sleep(0.2)
    return True


async def _in_files(settings: Settings, person: Person, found: Belongings, left: list[str]) -> int:
    folder = settings.home / "traces"
    ids = {each.query_id for each in found.queries}
    try:
        count = await asyncio.to_thread(forget_lines, folder, person, ids)
        if ids:
            await asyncio.sleep(_TRACED)
            count += await asyncio.to_thread(forget_lines, folder, person, ids)
    except OSError as refused:
        left.append(f"The trace files in {folder}: {refused.strerror or refused}.")
        return 0
    return count


async def _rewrite_disk(batch: Batch, left: list[str]) -> None:
    """Have the broker write its file anew: what was deleted still stands in it as it was told."""
    try:
        about = await batch.call("CONFIG", "GET", "appendonly")
        if "yes" in (about.values() if isinstance(about, dict) else about):
            await batch.call("BGREWRITEAOF")
            if not await _over(partial(_rewrites, batch)):
                left.append("The broker's file on disk: it is still written anew.")
    except BrokerRefused as refused:
        left.append(f"The broker's file on disk: run BGREWRITEAOF there ({refused.reason}).")


async def _rewrites(batch: Batch) -> bool:
    about = str(await batch.call("INFO", "persistence"))
    return bool(re.search(r"aof_rewrite_(?:in_progress|scheduled)(?::|': )1", about))


def _langfuse(settings: Settings, person: Person, traces: Sequence[str]) -> list[str]:
    if settings.langfuse_login is None:
        return []
    ids = ",".join(f'"{each}"' for each in traces)
    return [
        f"Langfuse: delete the traces of the user {person.asker.name!r} on its page of users. Those of the records: "
        'curl -X DELETE "$LANGFUSE_BASE_URL/api/public/traces" -u "$LANGFUSE_PUBLIC_KEY:$LANGFUSE_SECRET_KEY" '
        f"-H 'Content-Type: application/json' -d '{{\"traceIds\":[{ids}]}}'"
    ]
