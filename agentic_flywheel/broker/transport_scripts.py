"""Python's side of the transport's scripts, made by ``generate.py`` from their heads.

Each function returns the call of one script, which a ``BrokerLink`` runs; the reply is a closed type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NewType

from agentic_flywheel.broker.calls import ScriptCall
from agentic_flywheel.broker.declaration import Replied, Script, UndeclaredReply


class ExpiredFound(Replied):
    """``expired`` replied ``found``."""

    __slots__ = (
        "records",
        "seen",
        "tags",
    )

    def __init__(self, tags: tuple[bytes, ...], seen: tuple[str, ...], records: tuple[bytes, ...]) -> None:
        self.tags, self.seen, self.records = tags, seen, records


ExpiredReply = ExpiredFound

_EXPIRED = Script("transport/expired")


def expired(*, age: float, limit: int) -> ScriptCall[ExpiredReply]:
    """Find leases that were not renewed for a while. A tag without a record is removed: there is no message to
    return.

    ``age``: seconds.
    ``limit``: most leases.
    """
    return ScriptCall(_EXPIRED, (age, limit), _read_expired)


def _read_expired(reply: Any) -> ExpiredReply:
    match reply:
        case [b"found", tags, seen, records]:
            return ExpiredFound(tuple(tags), tuple(each.decode() for each in seen), tuple(records))
        case _:
            raise UndeclaredReply("expired", reply)


class FetchTaken(Replied):
    """``fetch`` replied ``taken``."""

    __slots__ = (
        "messages",
        "queues",
        "tags",
    )

    def __init__(self, queues: tuple[str, ...], tags: tuple[str, ...], messages: tuple[bytes, ...]) -> None:
        self.queues, self.tags, self.messages = queues, tags, messages


FetchReply = FetchTaken

_FETCH = Script("transport/fetch")


def fetch(
    *, limit: int, share: int, list_first: bool, bands: Sequence[int], queues: Sequence[str]
) -> ScriptCall[FetchReply]:
    """Take messages and record them as unacknowledged, in one step. A record is the JSON array of the message, an
    empty exchange, and the queue.

    ``limit``: most messages.
    ``share``: messages that one queue gives before the next queue of its band has its turn.
    ``list_first``: whether a queue's list gives before its backlog: each gives half of what is taken, while both last.
    ``bands``: the number of queues in each band; a band is emptied before the next one.
    ``queues``: the queues of all bands, one band behind the other.
    """
    return ScriptCall(_FETCH, (limit, share, int(list_first), len(bands), *bands, len(queues), *queues), _read_fetch)


def _read_fetch(reply: Any) -> FetchReply:
    match reply:
        case [b"taken", queues, tags, messages]:
            return FetchTaken(
                tuple(each.decode() for each in queues), tuple(each.decode() for each in tags), tuple(messages)
            )
        case _:
            raise UndeclaredReply("fetch", reply)


class SettleSettled(Replied):
    """The number of messages that could not be sent to their queue."""

    __slots__ = ("not_sent",)

    def __init__(self, not_sent: int) -> None:
        self.not_sent = not_sent


class SettleKnown(Replied):
    """This batch was carried out before."""

    __slots__ = ()


SettleReply = SettleSettled | SettleKnown

_SETTLE = Script("transport/settle")


SettleEntry = NewType("SettleEntry", tuple[str | int, ...])


def settle_ack(*, tag: str) -> SettleEntry:
    """Return the entry: acknowledge a message."""
    return SettleEntry(("ack", tag))


def settle_moved(*, tag: str, taken_in: int, execution_name: str, recorded: int) -> SettleEntry:
    """Return the entry: acknowledge the message of an execution."""
    return SettleEntry(("moved", tag, taken_in, execution_name, recorded))


def settle_result(*, key: str, ttl: int, value: str) -> SettleEntry:
    """Return the entry: store a result for so many seconds (0: for ever) and publish it."""
    return SettleEntry(("result", key, ttl, value))


def settle_message(*, queue: str, message: str) -> SettleEntry:
    """Return the entry: put a message into a queue."""
    return SettleEntry(("message", queue, message))


def settle_put_back(*, tag: str, seen: str, queue: str, message: str) -> SettleEntry:
    """Return the entry: put a message back; not if its lease was renewed since `seen`."""
    return SettleEntry(("put_back", tag, seen, queue, message))


def settle_set_aside(*, tag: str, acknowledged: str) -> SettleEntry:
    """Return the entry: keep a message as unreadable; `acknowledged` where it has no record any more."""
    return SettleEntry(("set_aside", tag, acknowledged))


def settle(
    *, run: int, ledger: str, batch_id: str, remembered: int, kept: int, entries: Iterable[SettleEntry]
) -> ScriptCall[SettleReply]:
    """Write a batch of a ledger's entries, in their order. A batch whose reply was lost is sent again: it is
    recognised by its id and not carried out twice. A message that cannot be sent to its queue is set aside: an
    error would have the whole batch repeated for ever.

    ``run``: the number of the server's run: the worker counts each start that it meets.
    ``ledger``: the worker's name for its ledger.
    ``remembered``: seconds for which the id is remembered.
    ``kept``: number of unreadable messages that are kept, the newest ones.
    """
    return ScriptCall(_SETTLE, (run, ledger, batch_id, remembered, kept, *chain.from_iterable(entries)), _read_settle)


def _read_settle(reply: Any) -> SettleReply:
    match reply:
        case [b"settled", not_sent]:
            return SettleSettled(int(not_sent))
        case [b"known"]:
            return SettleKnown()
        case _:
            raise UndeclaredReply("settle", reply)


class StampStamped(Replied):
    """``stamp`` replied ``stamped``."""

    __slots__ = ()


StampReply = StampStamped

_STAMP = Script("transport/stamp")


def stamp(*, tags: Sequence[str]) -> ScriptCall[StampReply]:
    """Renew the leases of messages. A lease that is gone is not made again."""
    return ScriptCall(_STAMP, (len(tags), *tags), _read_stamp)


def _read_stamp(reply: Any) -> StampReply:
    match reply:
        case [b"stamped"]:
            return StampStamped()
        case _:
            raise UndeclaredReply("stamp", reply)
