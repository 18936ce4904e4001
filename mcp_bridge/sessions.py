"""Sessions of the protocol's older revisions: they outlive a restart of the bridge, and their streams can be resumed.

The SDK's session manager answers 404 to a session that it does not know: most clients do not begin another one then,
and stay cut off until a person restarts them.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections import OrderedDict
from importlib.metadata import version
from typing import Any

from mcp.server.auth.middleware import bearer_auth
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import JSONRPCMessage
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

MAX_BODY = 4 * 2**20
#: Sessions that are open at once.
MAX_SESSIONS = 1_000
#: Milliseconds after which a client takes up a stream again that broke.
RETRY = 1_000
#: What is kept of one session for clients that take up a stream: messages, and characters of them.
_KEPT, _KEPT_CHARACTERS = 32, 128_000

#: Sessions that are not open and of which it is remembered whose they are.
_MOST_BOUND = 10_000
#: As the SDK answers to a session that it does not know.
_NOT_FOUND = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}

_ID = re.compile(r"[0-9a-f]{32}")


class Sessions(StreamableHTTPSessionManager):
    """The sessions of one server, each with messages of its own to resume from. A restart of the bridge ends them.

    It takes public parts of the SDK alone. A session whose token was revoked is out of reach, and ends after a while.
    """

    def __init__(self, server: Server[Any], security: TransportSecuritySettings) -> None:
        super().__init__(
            server,
            security_settings=security,
            retry_interval=RETRY,
            max_request_body_size=MAX_BODY,
            max_sessions=MAX_SESSIONS,
        )

    # The base class asks for it once for each session, and would have them all share one.
    @property
    def event_store(self) -> EventStore:
        return KeptMessages()

    @event_store.setter
    def event_store(self, _: EventStore | None) -> None:
        pass

    @property
    def token_ids(self) -> set[str]:
        """The tokens with which open sessions were begun, as far as it is known."""
        return set()

    async def end_for(self, token_id: str) -> None:
        """End the sessions that were begun with a token, as far as it is known."""


class LastingSessions(Sessions):
    """Sessions that outlive a restart of the bridge, and end at once with the token that began them.

    This takes private parts of the SDK. ``missing_part`` checks them; where one is missing, ``sessions_of`` does
    without.
    """

    def __init__(self, server: Server[Any], security: TransportSecuritySettings) -> None:
        super().__init__(server, security)
        self._ended: OrderedDict[str, None] = OrderedDict()
        #: Of sessions that are not open here, whose they are: of those before a restart, whoever used one first.
        self._bound: OrderedDict[str, Any] = OrderedDict()

    async def _handle_stateful_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session = headers.get("mcp-session-id", "")
        if session in self._server_instances:
            if scope["method"] == "DELETE":
                self._end(session)
        elif _ID.fullmatch(session) and session not in self._ended:
            # Of a bridge before this one, or idle for long. Nothing that a request needs was in it.
            if not self._is_theirs(session, scope):
                await JSONResponse(_NOT_FOUND, 404)(scope, receive, send)
            elif scope["method"] == "POST":
                await self._handle_stateless_request(headers.get(MCP_PROTOCOL_VERSION_HEADER), scope, receive, send)
            else:
                # To clients this means: there is no such stream here, go on without it.
                await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        await super()._handle_stateful_request(scope, receive, send)

    @property
    def token_ids(self) -> set[str]:
        return {str(each["issuer"]) for each in self._session_owners.values() if each["issuer"]}

    async def end_for(self, token_id: str) -> None:
        for session, owner in list(self._session_owners.items()):
            if owner["issuer"] == token_id and (transport := self._server_instances.get(session)) is not None:
                await self._discard_session(session, transport)

    async def _discard_session(self, session_id: str, transport: StreamableHTTPServerTransport) -> None:
        if session_id in self._session_owners:
            self._bind(session_id, self._session_owners[session_id])
        await super()._discard_session(session_id, transport)

    def _is_theirs(self, session: str, scope: Scope) -> bool:
        """Whether a session that is not open here is the caller's. It becomes the caller's where nobody has it."""
        user = scope.get("user")
        caller = bearer_auth.authorization_context(user) if isinstance(user, AuthenticatedUser) else None
        if session not in self._bound:
            self._bind(session, caller)
        return bool(self._bound[session] == caller)

    def _bind(self, session: str, owner: Any) -> None:
        self._bound[session] = owner
        while len(self._bound) > _MOST_BOUND:
            self._bound.popitem(last=False)

    def _end(self, session: str) -> None:
        """Remember that a client ended its session: from now on it is not found."""
        self._ended[session] = None
        while len(self._ended) > MAX_SESSIONS:
            self._ended.popitem(last=False)


def sessions_of(server: Server[Any], security: TransportSecuritySettings) -> Sessions:
    """Return the sessions of a server: lasting ones where the installed SDK has what they take."""
    missing = missing_part(server, security)
    if missing is None:
        return LastingSessions(server, security)
    logger.warning(
        "mcp %s: %s; its clients must begin a new session after a restart of the bridge", version("mcp"), missing
    )
    return Sessions(server, security)


def missing_part(server: Server[Any], security: TransportSecuritySettings) -> str | None:
    """Return which of the SDK's private parts is missing or has another form, None if all are as expected."""
    manager = StreamableHTTPSessionManager
    try:
        inspect.signature(manager._handle_stateful_request).bind(None, None, None, None)
        inspect.signature(manager._handle_stateless_request).bind(None, None, None, None, None)
        inspect.signature(manager._discard_session).bind(None, "session", None)
        sessions = LastingSessions(server, security)
        if not isinstance(sessions._server_instances, dict) or not isinstance(sessions._session_owners, dict):
            raise TypeError("the open sessions are kept in another way")
        token = AccessToken(token="", client_id="", scopes=[], claims={"iss": "an id"})
        if bearer_auth.authorization_context(AuthenticatedUser(token))["issuer"] != "an id":
            raise TypeError("it is kept in another way which token began a session")
    except (AttributeError, ImportError, KeyError, TypeError) as other:
        return str(other)
    return None


class KeptMessages(EventStore):
    """The latest messages of one session, for a client that takes up a broken stream."""

    def __init__(self) -> None:
        #: By event id: the stream and the message; None for an event that only marks a place.
        self._events: OrderedDict[str, tuple[str, JSONRPCMessage | None, int]] = OrderedDict()
        self._characters = 0
        self._count = 0

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep a message; return its event's id."""
        size = len(message.model_dump_json()) if message is not None else 0
        self._count += 1
        event_id = str(self._count)
        self._events[event_id] = (stream_id, message, size)
        self._characters += size
        while len(self._events) > _KEPT or self._characters > _KEPT_CHARACTERS:
            self._characters -= self._events.popitem(last=False)[1][2]
        return event_id

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send again what came after an event on its stream; return the stream, None where the event is not kept."""
        if last_event_id not in self._events:
            return None
        stream = self._events[last_event_id][0]
        for event_id, (of_stream, message, _) in list(self._events.items()):
            if of_stream == stream and int(event_id) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event_id))
        return stream
