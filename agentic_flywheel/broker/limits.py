"""What bounds the calls of a flow, and the queries of an owner, as arguments of the scripts."""

from __future__ import annotations

from typing import TypedDict

from agentic_flywheel.access.limits import OwnLimits, limits_for
from agentic_flywheel.catalog import Flow
from agentic_flywheel.settings import Settings, calls_at_once, server_of


class ServerArguments(TypedDict):
    """Where a flow is, and how many calls are given there at once, as the scripts are told it."""

    server: str
    at_once: int


class LimitArguments(ServerArguments):
    """What bounds the calls of a flow."""

    concurrency: int
    rate: float


def limits_of(flow: Flow, settings: Settings) -> LimitArguments:
    """Return what bounds the calls of a flow."""
    server = place_of(flow, settings)
    return {**server, "concurrency": flow.concurrency or server["at_once"], "rate": flow.rate or 0}


def place_of(flow: Flow | None, settings: Settings) -> ServerArguments:
    """Return where a flow is; for None, where flows are that say nothing."""
    return {"server": server_of(flow, settings), "at_once": calls_at_once(flow, settings)}


class OwnerArguments(TypedDict):
    """What bounds the queries of an owner, 0: nothing; and the owner's turns for each of another one's."""

    minute_most: int
    open_most: int
    bytes_most: int
    day_most: int
    weight: int


def allowance_of(owner: str, settings: Settings, own: OwnLimits | None = None) -> OwnerArguments:
    """Return what bounds the queries of an owner. ``own``: the limits of the token with which the owner came."""
    limits = limits_for(owner, settings, own)
    return {
        "minute_most": limits.queries_a_minute,
        "open_most": limits.under_way,
        "bytes_most": limits.bytes_under_way,
        "day_most": limits.calls_a_day,
        "weight": limits.weight,
    }
