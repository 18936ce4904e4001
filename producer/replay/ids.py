"""Ids of a replay's queries. The same item has the same query id, so after a crash nothing is asked twice."""

from __future__ import annotations

import hashlib
import secrets

from agentic_flywheel.ids import in_uuid4_layout


def new_run_id() -> str:
    """Return a new replay's own id."""
    return secrets.token_hex(8)


def query_id(run_id: str, number: int | str, attempt: int = 1) -> str:
    """Return the id under which an item is asked, in uuid4's layout as ``models.new_query_id`` has it.

    All ids of a replay begin with the same eight digits, so one channel tells of all its queries. ``attempt`` counts
    up only where what was asked before ended without an answer: cancelled, expired, forgotten.
    """
    digits = hashlib.sha256(f"{run_id}|{number}|{attempt}".encode()).hexdigest()
    return channel_of(run_id) + in_uuid4_layout(digits)[8:]


def retry_id(letter: str, attempt: int) -> str:
    """Return the id under which a dead letter is asked again, whoever does it: of two at once, one asks."""
    return query_id("dead letters", f"{letter}|retry", attempt)


def channel_of(run_id: str) -> str:
    """Return the eight digits with which all query ids of a replay begin."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:8]


def session_id(run_id: str, session: str) -> str:
    """Return the replay's own session in the place of a live one."""
    return f"replay-{run_id}-{hashlib.sha256(session.encode()).hexdigest()[:16]}"
