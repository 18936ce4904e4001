"""How a flow of one's own is asked over HTTP, and where its answer stands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from agentic_flywheel.models import Model


class RequestTemplate(Model):
    """What is sent. In texts ``{{question}}`` and other names stand for values; nothing is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Put behind the server's address.
    path: str = ""
    method: Literal["POST", "PUT", "GET"] = "POST"
    #: Sent as JSON.
    body: JsonValue = None


class AnswerPlace(Model):
    """Where in the response the answer stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: A JSON pointer (RFC 6901).
    text: Annotated[str, Field(pattern=r"^(/.*)?$", max_length=500)] = ""
