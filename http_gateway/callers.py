"""Who calls: a dependency of every route that gives the caller's grant, asker and producer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastapi import Request

from agentic_flywheel.access.grant import Grant, Scope
from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import InvalidQuery, MissingScope, TokenNeeded
from agentic_flywheel.given import asker_of
from http_gateway.gateway import Gateway
from mcp_bridge.door import header_of
from mcp_bridge.owners import USER_HEADER
from mcp_bridge.tool import Call
from producer import AsyncProducer

#: Where the entrance has left the grant of a request.
GRANT = "flywheel.grant"


@dataclass(frozen=True, slots=True)
class GatewayCaller:
    """One request: for whom, and what it may use."""

    gateway: Gateway
    grant: Grant
    asker: Asker

    @property
    def producer(self) -> AsyncProducer:
        """The shared producer, bound to this caller's asker and limits."""
        return self.gateway.producer(self.asker, self.grant)

    @property
    def call(self) -> Call:
        """The same as a call of the bridge's tools."""
        return Call(self.gateway.bridge, self.producer, None, self.grant)

    def acting_for(self, user: str | None) -> GatewayCaller:
        """Return the caller for one of its users, whom the body names. Raises InvalidQuery.

        A caller whose header named a user stays with that one.
        """
        if user is None or user == self.asker.user:
            return self
        if self.asker.user is not None:
            raise InvalidQuery("user", "it should be the one that the header Flywheel-User names")
        return replace(self, asker=asker_of(self.asker.owner, user))

    def needs(self, scope: Scope, what: str) -> None:
        """Raise MissingScope where the grant does not allow this."""
        if not self.grant.allows(scope):
            raise MissingScope(scope, what)


class CallerOf:
    """The dependency: `caller: Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]`.

    Raises TokenNeeded where the entrance let a visitor in, MissingScope, InvalidQuery for a user's name that is none.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    # A coroutine: FastAPI calls a plain function in a thread, which takes as long as all the rest.
    async def __call__(self, request: Request) -> GatewayCaller:
        gateway: Gateway = request.app.state.gateway
        grant: Grant | None = request.scope.get(GRANT)
        if grant is None:
            raise TokenNeeded
        asker = asker_of(grant.owner, header_of(request.scope, USER_HEADER))
        caller = GatewayCaller(gateway, grant, asker)
        caller.needs(self.scope, f"{request.method} {request.scope['route'].path}")
        return caller
