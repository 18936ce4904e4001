"""What the message of a plain Celery client says beside its question: when, how urgent, and what is to follow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from celery.utils.time import maybe_iso8601, maybe_make_aware

from agentic_flywheel.broker import parcels, wire
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import Priority, Query

#: Bytes, as JSON, of all that follows one query: it is kept with its record.
_LONGEST = 64 * 1024
#: What Celery does after a task: each a list of signatures but the last, which is one.
_FOLLOWING = ("callbacks", "errbacks", "chain", "chord")


class Wishes(NamedTuple):
    """The options of one task message, as far as they concern its query."""

    #: When its query may go on.
    due: datetime | None = None
    expires: datetime | None = None
    #: Whether it was given a priority after the normal one.
    low: bool = False
    #: The message that carries on after the query's end.
    follows: Parcel | None = None
    #: Why they cannot be granted.
    fault: InvalidQuery | None = None

    def granted(self, query: Query, longest: timedelta) -> Query:
        """Return the query with what is wished of it. ``longest``: how long it may be put off. Raises InvalidQuery."""
        if self.fault is not None:
            raise self.fault
        if self.due is not None:
            if self.due > datetime.now(UTC) + longest:
                hours = longest.total_seconds() / 3600
                raise InvalidQuery("eta", f"it is more than {hours:g} hours ahead, as long as a query may stay open")
            if query.session_id is not None:
                raise InvalidQuery("eta", "a turn of a session has its place behind the turn before, and no other time")
        changed: dict[str, Any] = {}
        if self.low and "priority" not in query.model_fields_set:
            changed["priority"] = Priority.LOW
        if self.expires is not None and (query.deadline is None or self.expires < query.deadline):
            changed["deadline"] = self.expires
        return query.model_copy(update=changed) if changed else query


def take_wishes(request: Any) -> Wishes:
    """Return what a running task's message wishes. Celery is made to forget what follows: the query's end brings it."""
    following = {
        "callbacks": request.callbacks, "errbacks": request.errbacks, "chain": request.chain, "chord": request.chord
    }  # fmt: skip
    request.callbacks = request.errbacks = request.chain = request.chord = None
    priority = (request.delivery_info or {}).get("priority")
    wishes = Wishes(
        _moment(request.eta), _moment(request.expires), isinstance(priority, int) and priority >= wire.LOW_FROM
    )
    if not any(following.values()):
        return wishes
    try:
        return wishes._replace(follows=_continuation(request, following))
    except InvalidQuery as fault:
        return wishes._replace(fault=fault)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else maybe_make_aware(maybe_iso8601(text), UTC)


def _continuation(request: Any, following: dict[str, Any]) -> Parcel:
    """Return the task message that Celery goes on from, as if its task were the query. Raises InvalidQuery."""
    for signature in _signatures(following):
        if not isinstance(signature, dict) or not isinstance(signature.get("task"), str):
            raise InvalidQuery("link", "what follows a query is a signature, or a list of them")
    for signature in [*(following["callbacks"] or ()), *(following["errbacks"] or ())]:
        options = signature.setdefault("options", {})
        if isinstance(options, dict) and not signature.get("subtask_type"):
            # If it is sent twice, after a worker was lost, both have this id.
            options.setdefault("task_id", str(uuid.uuid4()))
    try:
        written = json.dumps(following)
        group = json.dumps(request.group)
    except (TypeError, ValueError, RecursionError):
        raise InvalidQuery("link", "what follows a query can be written as JSON") from None
    if len(written) + len(group) > _LONGEST:
        raise InvalidQuery(
            "link", f"what follows has {len(written):,} bytes as JSON, at most {_LONGEST:,} are accepted"
        )
    index = request.group_index
    return parcels.task_parcel(
        wire.CONTINUE,
        f"{request.id}|{wire.CONTINUATION}",
        request.id,
        f"[{parcels.quoted(request.id)}]",
        queue=wire.banded(wire.CLASSIFY_QUEUE, Priority.HIGH),
        # It says the same in every version, so whoever is there carries on.
        version=1,
        root_id=request.root_id if isinstance(request.root_id, str) else None,
        shown=f"({request.id}, what follows)",
        follows=written,
        group=group,
        group_index=index if isinstance(index, int) else None,
    )


def _signatures(following: dict[str, Any]) -> Iterator[Any]:
    for name in _FOLLOWING[:-1]:
        each = following[name] or []
        yield from each if isinstance(each, list) else [None]
    if following["chord"]:
        yield following["chord"]
