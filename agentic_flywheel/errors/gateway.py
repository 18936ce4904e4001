"""Failures of the HTTP gateway: requests that are not served."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class TokenNeeded(FlywheelError):
    """The request came without a token that lets it in. What is wrong with a token is not told."""

    suggestions = (
        "Send the token in the header `Authorization: Bearer …`.",
        "Have whoever runs the gateway make a token: `flywheel tokens new OWNER`.",
        "Look whether the token has expired or was revoked: `flywheel tokens list`.",
    )

    @property
    def message(self) -> str:
        return "A valid token is needed"


@dataclass(eq=False)
class OriginRefused(FlywheelError):
    """A browser sent the request for a web page that may not use this gateway, or under a name that is not its own."""

    #: Of the page, or the host that the request named.
    origin: str

    suggestions = (
        "Name the page's origin in FLYWHEEL_HTTP_ORIGINS where the gateway is started.",
        "Give the gateway a token: a request with a valid one may come from any page that FLYWHEEL_HTTP_ORIGINS names.",
        "Use the gateway under the address that it printed, or name the host with `--allowed-host`.",
    )

    @property
    def message(self) -> str:
        return f"A request from or to {self.origin} is not served without a token"


@dataclass(eq=False)
class InvalidRequest(FlywheelError):
    """A parameter of a request's path, query string or headers is not acceptable; nothing was done."""

    field_name: str
    reason: str

    suggestions = (
        "Correct the named parameter and send the request again.",
        "Look at /docs of the gateway: it lists the parameters of every path, and what each takes.",
        "Leave the parameter out where it is not needed: each has a usual value then.",
    )

    @property
    def message(self) -> str:
        return f"The request was not accepted: {self.field_name}: {self.reason}"


@dataclass(eq=False)
class MalformedRequest(FlywheelError):
    """What came is no HTTP request, or one that two readers would understand in two ways; nothing was done."""

    reason: str

    suggestions = (
        "Send it with a usual HTTP client, such as curl, which writes requests as HTTP demands.",
        "Name one Host, as `name` or `name:port`, and one length of the body.",
        "Look whether a proxy between you and the gateway changes requests.",
    )

    @property
    def message(self) -> str:
        return f"The request cannot be read: {self.reason}"


@dataclass(eq=False)
class HeadTooLarge(FlywheelError):
    """The request line and the headers have more bytes than are accepted."""

    most: int

    suggestions = (
        "Send fewer cookies and shorter headers.",
        "Put what is long into the body of a POST instead of the query string.",
        "Look whether a proxy between you and the gateway adds headers.",
    )

    @property
    def message(self) -> str:
        return f"The head of the request has more than {self.most:,} bytes"


@dataclass(eq=False)
class NothingThere(FlywheelError):
    """The gateway has nothing at this path, or not for this method."""

    method: str
    path: str

    suggestions = (
        "Look at /docs of the gateway: it lists every path and what it takes.",
        "Check the method: what changes something is a POST, PUT or DELETE.",
        "Check the address: the native API is under /v1, Flowise's under /api/v1, MCP at /mcp.",
    )

    @property
    def message(self) -> str:
        return f"There is nothing at {self.method} {self.path}"


@dataclass(eq=False)
class RequestTooLarge(FlywheelError):
    """The body has more bytes than is accepted there."""

    most: int
    #: Of a body that has come: its bytes, beside those of files.
    size: int | None = None

    suggestions = (
        "Send less: shorten the history, the context or the metadata.",
        "Send files as multipart/form-data instead of base64 in JSON.",
        "Split a batch of questions into several.",
    )

    @property
    def message(self) -> str:
        return f"The body has more than {self.most:,} bytes"


@dataclass(eq=False)
class RequestTooSlow(FlywheelError):
    """The body did not come in time."""

    seconds: float

    transient = True
    retry_hint = 1.0
    suggestions = (
        "Send the request again: the connection may have been slow for a moment.",
        "Send smaller files, one request each.",
        "Look whether a proxy between you and the gateway holds the body back.",
    )

    @property
    def message(self) -> str:
        return f"The body did not come within {self.seconds:g} s"


@dataclass(eq=False)
class RequestFailed(FlywheelError):
    """A request failed because of a fault in our code. The gateway's log has the details; the client is not told."""

    path: str

    suggestions = (
        "Try once more: the fault may have been a passing one.",
        "Find the `error_id` in the gateway's log and report it.",
        "Do the same on the command line meanwhile: `flywheel --help`.",
    )

    @property
    def message(self) -> str:
        return f"{self.path} failed through a fault of the gateway itself"


@dataclass(eq=False)
class GatewayStopping(FlywheelError):
    """The gateway stops or starts anew, and does not wait with the request. Queries that it accepted go on."""

    query_id: str = ""

    transient = True
    retry_hint = 5.0
    suggestions = (
        "Send the request again in a few seconds; one that asked with an `Idempotency-Key` with the same key.",
        "Fetch the answer of a query that is named: GET /v1/queries/ID, once the gateway serves again.",
        "Have whoever runs the gateway start it again: `flywheel serve`, or `flywheel up`.",
    )

    @property
    def message(self) -> str:
        goes_on = f"; the query {self.query_id} goes on" if self.query_id else ""
        return f"The gateway is stopping{goes_on}"
