"""Sessions: a conversation's turns, life, profile and configuration. It belongs to an owner and a user.

Turns are read here; the script that ends a query appends them (``lua/shared/sessions.lua``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from pydantic import AwareDatetime, JsonValue, TypeAdapter

from agentic_flywheel.asker import Asker, session_id_of
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import passing_over, read_stored, reading
from agentic_flywheel.errors import UnknownSession
from agentic_flywheel.models import Model, Turn
from agentic_flywheel.secret_values import without_secret_values

_CONFIG: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class Session(Model):
    """One conversation of one asker."""

    session_id: str
    owner: str
    user: str | None = None
    created: AwareDatetime
    updated: AwareDatetime
    turns: int
    #: Ids of its open queries, in the order of submission.
    under_way: tuple[str, ...] = ()
    profile: str | None = None
    #: Merged over the flow's configuration in every query of the session.
    config: dict[str, JsonValue] = {}

    def shown(self) -> dict[str, Any]:
        """Return the JSON object that people are shown: without the secrets of the configuration."""
        return {**self.model_dump(mode="json"), "config": without_secret_values(self.config)}


def new_life() -> str:
    """Return what tells a session that begins from all earlier ones of its name."""
    return secrets.token_hex(16)


def flowise_session(life: str, profile: str | None) -> str:
    """Return the name under which Flowise remembers a session; ``profile``: the confidential one, if any.

    Nobody can guess it, and it ends with the session: the next one of the same id has another.
    """
    return hmac.new(life.encode(), (profile or "").encode(), hashlib.sha256).hexdigest()[:32]


async def recent_turns(batch: Batch, session_id: str, limit: int = 5, *, asker: Asker) -> list[Turn]:
    """Return the last ``limit`` turns, the oldest first; none for an unknown session.

    A damaged turn is left out. Raises BrokerUnavailable, RecordUnreadable.
    """
    with reading("session", session_id):
        stored = await batch.call("LRANGE", wire.turns_key(asker.session_name(session_id)), -limit, -1)
    found: list[Turn] = []
    for each in stored:
        with passing_over("a turn of session", session_id):
            found.append(read_stored(Turn, each))
    return found


async def load_session(batch: Batch, session_id: str, *, asker: Asker) -> Session:
    """Return an asker's session. Raises UnknownSession, RecordUnreadable, BrokerUnavailable."""
    with reading("session", session_id):
        return await _load(batch, session_id, asker)


async def _load(batch: Batch, session_id: str, asker: Asker) -> Session:
    name = asker.session_name(session_id)
    about: dict[str, str] = await batch.call("HGETALL", wire.session_key(name))
    if "life" not in about:
        raise UnknownSession(session_id)
    turns = await batch.call("LLEN", wire.turns_key(name))
    line = await batch.call("LRANGE", wire.line_key(name), 0, -1)
    created = about.get("created", "0")
    return Session(
        session_id=session_id,
        owner=asker.owner,
        user=asker.user,
        created=_moment(created),
        updated=_moment(about.get("updated", created)),
        turns=turns,
        under_way=tuple(line),
        profile=about.get("profile"),
        config=_config(about.get("config", "{}")),
    )


async def list_sessions(batch: Batch, asker: Asker, *, limit: int = 50) -> list[Session]:
    """Return an asker's sessions, the one with the latest turn first; without damaged ones.

    Raises BrokerUnavailable.
    """
    found: list[Session] = []
    for name in await batch.call("ZREVRANGE", wire.sessions_key(asker.name), 0, limit - 1):
        try:
            with passing_over("session", session_id_of(name)):
                found.append(await load_session(batch, session_id_of(name), asker=asker))
        except UnknownSession:  # expired: remove it from the asker's index
            await batch.call("ZREM", wire.sessions_key(asker.name), name)
    return found


async def use_profile(batch: Batch, session_id: str, profile: str | None, *, asker: Asker, ttl: timedelta) -> Session:
    """Set the profile of a session's later queries; None removes it. Creates the session where there is none.

    Queries under way keep the profile with which they were submitted. Raises BrokerUnavailable.
    """
    key = await _begin(batch, session_id, asker, ttl)
    if profile is None:
        await batch.call("HDEL", key, "profile")
    else:
        await batch.call("HSET", key, "profile", profile)
    return await load_session(batch, session_id, asker=asker)


async def session_profile(batch: Batch, session_id: str, *, asker: Asker) -> str | None:
    """Return the profile of a session's queries; None without one. Raises BrokerUnavailable."""
    found: str | None = await batch.call("HGET", wire.session_key(asker.session_name(session_id)), "profile")
    return found


async def configure_session(
    batch: Batch, session_id: str, config: dict[str, JsonValue], *, asker: Asker, ttl: timedelta
) -> Session:
    """Set the configuration of a session's later queries. Creates the session where there is none.

    Raises BrokerUnavailable.
    """
    key = await _begin(batch, session_id, asker, ttl)
    await batch.call("HSET", key, "config", json.dumps(config, ensure_ascii=False))
    return await load_session(batch, session_id, asker=asker)


async def session_config(batch: Batch, session_id: str, *, asker: Asker) -> dict[str, JsonValue]:
    """Return the configuration of a session's queries; empty where there is no such session.

    Raises RecordUnreadable, BrokerUnavailable.
    """
    with reading("session", session_id):
        config = await batch.call("HGET", wire.session_key(asker.session_name(session_id)), "config")
        return _config(config or "{}")


async def life_of(batch: Batch, query_id: str) -> str:
    """Return the life of the session in which a query was asked; empty outside one. Raises BrokerUnavailable."""
    return await batch.call("HGET", wire.record_key(query_id), "life") or ""


async def _begin(batch: Batch, session_id: str, asker: Asker, ttl: timedelta) -> str:
    """Begin a session where there is none; return its key."""
    name, seconds = asker.session_name(session_id), int(ttl.total_seconds())
    begun = await scripts.begin_session(batch, session=name, asker=asker.name, life=new_life(), ttl=seconds)
    match begun:
        case scripts.BeginSessionThere():
            return wire.session_key(name)
        case _:
            assert_never(begun)


def _config(written: str) -> dict[str, JsonValue]:
    """Return a session's configuration. Raises ValueError where it is none."""
    return _CONFIG.validate_json(written)


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, tz=UTC)
