"""How a flow is asked over HTTP, and where its answer stands: a registry says it of flows of ``backend: http``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from agentic_flywheel.base import Model

#: A name that stands for a value. Nothing is evaluated, and what is put in is not looked through again.
PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
#: Beside these: ``config.NAME`` and ``form.NAME``, one value of them.
NAMES = frozenset({"question", "session_id", "chat_id", "flow_id", "history", "uploads", "config", "form"})
#: Names of one member.
MEMBERS = ("config.", "form.")
#: A JSON pointer (RFC 6901): empty for the whole, else ``/`` before each step, ``~1`` for ``/`` and ``~0`` for ``~``.
Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$", max_length=500)]
#: A part of an address below the server's: it cannot lead to another host, above the server's address or to a fragment.
Path = Annotated[str, Field(pattern=r"^(/[^\s#\\]*)?$", max_length=2000)]
#: What a status means where it does not mean what it usually does.
Meaning = Literal["answer", "retry", "wait", "refused", "failed"]

_CLOSED = ConfigDict(frozen=True, extra="forbid")


class HttpRequest(Model):
    """One request. In its texts ``{{question}}`` and other names stand for values."""

    model_config = _CLOSED

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    #: Put behind the server's address, with a query where there is one.
    path: Path = ""
    #: Beside those of the server. ``{{key}}`` stands for the flow's key; where none of a flow's requests has it, all
    #: send the key as a bearer's.
    headers: dict[str, str] = {}
    #: Sent as JSON; None: nothing is sent.
    body: JsonValue = None


class ServerProbe(Model):
    """How the server says that it is there, without running a flow."""

    model_config = _CLOSED

    #: Asked with GET.
    path: Path
    #: Where its version stands.
    version: Pointer | None = None


class RequestTemplate(HttpRequest):
    """How the flow is asked, and what else can be asked of its server."""

    #: Asks for the end of the call with this ``{{chat_id}}``.
    abort: HttpRequest | None = None
    probe: ServerProbe | None = None


class UsagePlace(Model):
    """Where the numbers of tokens stand."""

    model_config = _CLOSED

    input: Pointer | None = None
    output: Pointer | None = None
    total: Pointer | None = None


class AnswerParts(Model):
    """Where the parts of an answer stand in a JSON document."""

    model_config = _CLOSED

    text: Pointer | None = None
    #: An object, for flows that answer with more than text.
    data: Pointer | None = None
    usage: UsagePlace = UsagePlace()
    model: Pointer | None = None
    #: A list of objects.
    sources: Pointer | None = None


class Frame(Model):
    """Which frames of a stream are meant: all pointers lead to (one of) these values."""

    model_config = _CLOSED

    when: Annotated[dict[Pointer, JsonValue], Field(min_length=1)] | None = None
    #: The name on the ``event:`` line of a server-sent event, or one of these names.
    event: str | tuple[str, ...] | None = None
    #: What is taken of it.
    at: Pointer = ""


class StreamRule(Model):
    """How a stream is read: server-sent events, or lines of JSON, whatever the content type says."""

    model_config = _CLOSED

    #: Each holds the next part of the text.
    token: Frame | None = None
    #: Holds the text anew, in place of all that came.
    instead: Frame | None = None
    #: Holds the document in which the answer's parts stand.
    whole: Frame | None = None
    #: After it comes nothing that matters. Without it, the stream ends with ``whole``.
    end: Frame | None = None
    #: The flow failed, for the reason there.
    error: Frame | None = None


class LateAnswer(AnswerParts):
    """How the answer of an attempt for which nobody waited is found: one entry of a list that the server keeps."""

    request: HttpRequest
    #: Where the list stands.
    entries: Pointer = ""
    #: What an entry holds if it is the answer, ``{{chat_id}}`` among it: else another attempt's would be taken.
    where: dict[Pointer, JsonValue]


class AnswerPlace(AnswerParts):
    """Where in the response the answer stands."""

    #: ``text``: the whole body is the answer.
    format: Literal["json", "text"] = "json"
    #: Where the reason of a failure stands. With a status that means success, something there is a failure too.
    error: Pointer | None = None
    statuses: dict[Annotated[int, Field(ge=200, le=599)], Meaning] = {}
    stream: StreamRule | None = None
    late: LateAnswer | None = None


def names_in(template: Any) -> frozenset[str]:
    """Return the names that stand for values in the texts of a template."""
    if isinstance(template, HttpRequest):
        return names_in([template.path, template.headers, template.body])
    if isinstance(template, str):
        return frozenset(PLACEHOLDER.findall(template))
    inner = template.values() if isinstance(template, dict) else template if isinstance(template, list) else ()
    return frozenset().union(*map(names_in, inner))
