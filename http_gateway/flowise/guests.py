"""Who comes to the Flowise-compatible API: with a token, from this machine, or as a visitor without one."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from fastapi import Request
from starlette.types import Scope as AsgiScope

from agentic_flywheel.access.grant import Grant, Scope
from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import Asker
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    InvalidQuery,
    OriginRefused,
    OwnerLimitReached,
    TokenNeeded,
    UnknownFlow,
)
from agentic_flywheel.given import asker_of
from http_gateway.callers import GRANT, GatewayCaller
from http_gateway.cors import is_of_this_machine, origins_of
from http_gateway.flowise.names import flow_named, is_random_chat
from http_gateway.gateway import Gateway
from mcp_bridge.door import bearer_of, header_of
from mcp_bridge.owners import USER_HEADER
from producer import AsyncProducer

#: Owners that are no token's, because no token's owner has a colon in its name.
VISITORS = "visitors:"
#: Addresses of visitors whose questions are counted; the one that asked longest ago is forgotten.
_MOST_ADDRESSES = 10_000
_MINUTE = 60.0


@dataclass(frozen=True)
class Guest:
    """One request: for whom it is, and of which flow."""

    caller: GatewayCaller
    #: None: the classification chooses.
    flow: Flow | None
    #: Whether a file may go along.
    uploads: bool = True
    #: Whether it came without a token.
    visitor: bool = False

    @property
    def producer(self) -> AsyncProducer:
        return self.caller.producer

    def in_chat(self, chat_id: str, session_id: str | None = None) -> Guest:
        """Return the same in a chat: a visitor is whoever knows the chat's name. Raises InvalidQuery."""
        if not self.visitor:
            return self
        for field, name in (("chatId", chat_id), ("overrideConfig.sessionId", session_id or chat_id)):
            if not is_random_chat(name):
                raise InvalidQuery(
                    field, "without a token it should be a random UUID (version 4), or a customer's name, + and one"
                )
        owner = self.caller.asker.owner
        return replace(self, caller=replace(self.caller, asker=asker_of(owner, chat_id)))


class Addresses:
    """How much each address has asked within the last minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, address: str) -> None:
        """Count one question. Raises OwnerLimitReached where it is one too many."""
        now = time.monotonic()
        asked = self._asked.setdefault(address, deque())
        self._asked.move_to_end(address)
        while asked and asked[0] < now - _MINUTE:
            asked.popleft()
        if len(asked) >= self._most:
            left = asked[0] + _MINUTE - now
            raise OwnerLimitReached("This address", "queries_a_minute", self._most, len(asked), round(left, 1))
        asked.append(now)
        if len(self._asked) > _MOST_ADDRESSES:
            self._asked.popitem(last=False)


def admits(gateway: Gateway, scope: AsgiScope, origin: str) -> bool:
    """Return whether pages of an origin may send requests and read what becomes of them: where any flow is public for
    them. What they are told of other flows is a refusal."""
    if not gateway.settings.http_visitors:
        return False
    return any(flow.public.admits(origin) for flow in gateway.catalog.active.values() if flow.public)


def lets_in(gateway: Gateway, scope: AsgiScope) -> bool:
    """Let every request in: what it may do depends on the flow, and a stream's refusal is a frame."""
    return True


def member_of(request: Request) -> GatewayCaller | None:
    """Return who comes with a token, or from this machine where none is needed; None for visitors.

    Raises MissingScope, InvalidQuery; TokenNeeded where there is a token that lets nobody in.
    """
    gateway: Gateway = request.app.state.gateway
    grant = _members_grant(request)
    if grant is None:
        return None
    caller = GatewayCaller(gateway, grant, asker_of(grant.owner, header_of(request.scope, USER_HEADER)))
    caller.needs(Scope.ASK, request.url.path[:200])
    return caller


def is_member(request: Request) -> bool:
    """Return whether a request comes with a token, whatever that allows, or from this machine where none is needed."""
    try:
        return _members_grant(request) is not None
    except TokenNeeded:
        return False


def _members_grant(request: Request) -> Grant | None:
    """Return what a request may do; None for visitors. Raises TokenNeeded where its token lets nobody in."""
    grant: Grant | None = request.scope.get(GRANT)
    if grant is None and bearer_of(request.scope):
        raise TokenNeeded
    origin = header_of(request.scope, b"origin")
    if grant is None or (not grant.token_id and _is_visitors_page(request.app.state.gateway, origin)):
        return None
    return grant


def expect(request: Request) -> None:
    """Raise TokenNeeded where nobody can come like this, whatever flow the body names: it need not be read then.

    Raises what ``member_of`` raises.
    """
    if member_of(request) is None and not request.app.state.gateway.settings.http_visitors:
        raise TokenNeeded


def guest_of(request: Request, name: str) -> Guest:
    """Return who asks the flow of this name. Raises TokenNeeded, OriginRefused, UnknownFlow, and what ``member_of``
    raises. Without a token nobody learns which flows there are."""
    gateway: Gateway = request.app.state.gateway
    caller = member_of(request)
    if caller is not None:
        return Guest(caller, flow_named(gateway.catalog, name))
    try:
        flow = flow_named(gateway.catalog, name) if gateway.settings.http_visitors else None
    except UnknownFlow:
        flow = None
    if flow is None or flow.public is None:
        raise TokenNeeded
    origin = header_of(request.scope, b"origin")
    if not flow.public.admits(origin):
        raise OriginRefused((origin or "no page")[:200])
    return Guest(visitor_caller(gateway, flow), flow, uploads=flow.public.uploads, visitor=True)


def visitor_caller(gateway: Gateway, flow: Flow) -> GatewayCaller:
    """Return the caller that all visitors of a flow have in common; a chat makes one of them of it."""
    assert flow.public is not None
    limits = OwnLimits(queries_a_minute=flow.public.queries_a_minute, under_way=flow.public.under_way)
    owner = f"{VISITORS}{flow.key}"
    return GatewayCaller(gateway, Grant(owner=owner, scopes=frozenset({Scope.ASK}), limits=limits), Asker(owner))


def count_visit(request: Request, guest: Guest) -> None:
    """Count a question of a visitor's address. Raises OwnerLimitReached."""
    if not guest.visitor:
        return
    state = request.app.state
    if not hasattr(state, "visitors"):
        state.visitors = Addresses(guest.caller.gateway.settings.http_visitor_queries)
    state.visitors.count(request.client.host if request.client else "")


def _is_visitors_page(gateway: Gateway, origin: str | None) -> bool:
    """Whether a page sent this that is there for visitors alone: it does not become the user of this machine."""
    return origin is not None and not (
        is_of_this_machine(origin) or origin in origins_of(gateway.settings.http_origins)
    )
