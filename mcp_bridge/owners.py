"""Who calls: a bearer token stands for an owner; without tokens it is the user of this machine.

For whom the owner asks is said by the program that holds the token, in a header. No tool has an argument for it: a
model that was talked into something must not choose whose conversations it reads.
"""

from __future__ import annotations

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from agentic_flywheel.access.grant import LOCAL_GRANT, Grant
from agentic_flywheel.asker import Asker

#: The header in which a client says for whom of its users it asks.
USER_HEADER = b"flywheel-user"


class GrantedAccess(AccessToken):
    """Who calls in the words of the SDK, with what the token allows."""

    grant: Grant


def current_asker(local: Asker) -> Asker:
    """Return for whom this request is made; ``local`` where it has neither a token nor the header."""
    access = get_access_token()
    return Asker(access.client_id, access.subject) if access is not None else local


def current_grant() -> Grant:
    """Return what whoever makes this request may do."""
    access = get_access_token()
    return access.grant if isinstance(access, GrantedAccess) else LOCAL_GRANT


def access_of(grant: Grant, user: str | None) -> GrantedAccess:
    """Return who calls; the SDK binds a session to the token, its owner and the user."""
    claims = {"iss": grant.token_id}
    return GrantedAccess(
        token="", client_id=grant.owner, scopes=sorted(grant.scopes), subject=user, claims=claims, grant=grant
    )
