"""The conversation: its turns, and whose it is. Turns are appended by the script that ends a query."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, JsonValue

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import UnknownSession
from agentic_flywheel.models import Model, Turn


class Session(Model):
    """One conversation of one owner."""

    session_id: str
    owner: str
    created: AwareDatetime
    updated: AwareDatetime
    turns: int
    #: Queries of it that have no final answer yet, in their order.
    under_way: tuple[str, ...] = ()
    profile: str | None = None
    #: Merged over the flows' configuration for every query of the session.
    config: dict[str, JsonValue] = {}


async def recent_turns(batch: Batch, session_id: str, limit: int = 5) -> list[Turn]:
    """Return the last turns, the oldest first; none for a session that is not known. Raises BrokerUnavailable."""
    stored = await batch.call("LRANGE", wire.turns_key(session_id), -limit, -1)
    return [Turn.model_validate_json(each) for each in stored]


async def load_session(batch: Batch, session_id: str, *, owner: str) -> Session:
    """Return a session. Raises UnknownSession where there is none, or it is another owner's; BrokerUnavailable."""
    about: dict[str, str] = await batch.call("HGETALL", wire.session_key(session_id))
    if about.get("owner") != owner:
        raise UnknownSession(session_id)
    turns = await batch.call("LLEN", wire.turns_key(session_id))
    line = await batch.call("LRANGE", wire.line_key(session_id), 0, -1)
    created = about.get("created", "0")
    return Session(
        session_id=session_id,
        owner=owner,
        created=_moment(created),
        updated=_moment(about.get("updated", created)),
        turns=turns,
        under_way=tuple(line),
        profile=about.get("profile"),
        config=json.loads(about.get("config", "{}")),
    )


async def list_sessions(batch: Batch, owner: str, *, limit: int = 50) -> list[Session]:
    """Return an owner's sessions, the latest first. Raises BrokerUnavailable."""
    found = []
    for session_id in await batch.call("ZREVRANGE", wire.sessions_key(owner), 0, limit - 1):
        try:
            found.append(await load_session(batch, session_id, owner=owner))
        except UnknownSession:  # expired: the index is tidied here
            await batch.call("ZREM", wire.sessions_key(owner), session_id)
    return found


async def use_profile(batch: Batch, session_id: str, profile: str | None, *, owner: str, ttl: timedelta) -> Session:
    """Let a session carry a profile from now on, None: none; begins the session where there is none.

    Queries that are under way keep what they were submitted with. Raises UnknownSession where it is another owner's;
    BrokerUnavailable.
    """
    await _begin(batch, session_id, owner, ttl)
    await load_session(batch, session_id, owner=owner)
    if profile is None:
        await batch.call("HDEL", wire.session_key(session_id), "profile")
    else:
        await batch.call("HSET", wire.session_key(session_id), "profile", profile)
    return await load_session(batch, session_id, owner=owner)


async def session_profile(batch: Batch, session_id: str, *, owner: str) -> str | None:
    """Return the profile that an owner's session carries, if any. Raises BrokerUnavailable."""
    holder, profile = await batch.call("HMGET", wire.session_key(session_id), "owner", "profile")
    return profile if holder == owner else None


async def configure_session(
    batch: Batch, session_id: str, config: dict[str, JsonValue], *, owner: str, ttl: timedelta
) -> Session:
    """Set the configuration that a session's queries carry from now on; begins the session where there is none.

    Raises UnknownSession where it is another owner's; BrokerUnavailable.
    """
    await _begin(batch, session_id, owner, ttl)
    await load_session(batch, session_id, owner=owner)
    await batch.call("HSET", wire.session_key(session_id), "config", json.dumps(config))
    return await load_session(batch, session_id, owner=owner)


async def _begin(batch: Batch, session_id: str, owner: str, ttl: timedelta) -> None:
    key, now = wire.session_key(session_id), int(datetime.now(UTC).timestamp() * 1000)
    if await batch.call("HSETNX", key, "owner", owner):
        await batch.call("HSET", key, "created", now)
        await batch.call("EXPIRE", key, int(ttl.total_seconds()))
        await batch.call("ZADD", wire.sessions_key(owner), now, session_id)


async def session_config(batch: Batch, session_id: str, *, owner: str) -> dict[str, JsonValue]:
    """Return the configuration that a session's queries carry; empty for a session that is not known, or not theirs."""
    holder, config = await batch.call("HMGET", wire.session_key(session_id), "owner", "config")
    return json.loads(config) if config and holder == owner else {}


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, tz=UTC)
