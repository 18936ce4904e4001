"""Read the body of a prediction, as Flowise's clients send it: much of it may be null or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from agentic_flywheel.data_addresses import read_data_address
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import fault_of
from agentic_flywheel.models import Message
from agentic_flywheel.stops import Decision
from agentic_flywheel.uploads import MOST_UPLOADS, Upload
from http_gateway.flowise.names import new_chat, referred_to
from http_gateway.json_body import read_json

#: Flowise's roles, and the words that other clients use for them.
_ROLES: dict[str, Literal["userMessage", "apiMessage"]] = {
    "userMessage": "userMessage",
    "apiMessage": "apiMessage",
    "user": "userMessage",
    "assistant": "apiMessage",
}
#: Fields that stand as JSON in a form.
_JSON_FIELDS = ("overrideConfig", "history", "uploads", "form", "humanInput")
_TRUE = (True, "true")
#: Most messages of a history; the bound of its bytes is narrower for all but the shortest.
MOST_MESSAGES = 4000


class GivenMessage(BaseModel):
    """One message of a history: Flowise's own form, or that of its Python client."""

    model_config = ConfigDict(extra="ignore")

    role: str | None = None
    content: str | None = None
    type: str | None = None
    message: str | None = None


class GivenUpload(BaseModel):
    """One upload, with its content as ``data``."""

    model_config = ConfigDict(extra="ignore")

    type: str = "file"
    name: str = ""
    mime: str | None = None
    data: str | None = None


class GivenDecision(BaseModel):
    """What a person decided, and the node that asked."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    type: Decision
    start_node: str | None = Field(None, alias="startNodeId")
    feedback: str | None = None


class Prediction(BaseModel):
    """The body of a prediction. Further fields are ignored, as Flowise does."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    question: str | None = None
    form: dict[str, JsonValue] | None = None
    chat_id: str | None = Field(None, alias="chatId")
    config: dict[str, JsonValue] | None = Field(None, alias="overrideConfig")
    history: list[GivenMessage] | None = Field(None, max_length=MOST_MESSAGES)
    uploads: list[GivenUpload] | None = Field(None, max_length=MOST_UPLOADS)
    human: GivenDecision | None = Field(None, alias="humanInput")

    @property
    def chat(self) -> str:
        """The chat, as its client names it: by itself, or with the session of the configuration."""
        return self.chat_id or self._session or ""

    @property
    def session(self) -> str:
        """The conversation: the configured session, else the chat."""
        return self._session or self.chat_id or ""

    @property
    def _session(self) -> str:
        given = (self.config or {}).get("sessionId")
        return given if isinstance(given, str) else ""

    def named(self) -> Prediction:
        """Return the same with a chat that has a name."""
        return self if self.chat else self.model_copy(update={"chat_id": new_chat()})

    def query_fields(self) -> dict[str, Any]:
        """Return the fields of the query that is asked. Raises InvalidQuery."""
        config = {name: value for name, value in (self.config or {}).items() if name != "sessionId"}
        fields: dict[str, Any] = {"session_id": self.session}
        uploads = tuple(upload for each in self.uploads or () if (upload := upload_of(each)) is not None)
        if self.form:
            fields["form"] = self.form
        else:
            fields["question"] = self.question if (self.question or "").strip() else ""
        if config:
            fields["config"] = config
        if uploads:
            fields["uploads"] = uploads
        if self.history:
            fields["history"] = tuple(map(_message_of, self.history))
        if self.chat != self.session:
            fields["metadata"] = {"chat_id": self.chat}
        return fields


def read_prediction(given: Any) -> Prediction:
    """Return the prediction that an object describes. Raises InvalidQuery, naming the first field that is wrong."""
    if not isinstance(given, Mapping):
        raise InvalidQuery("body", "it should be a JSON object")
    try:
        return Prediction.model_validate(dict(given)).named()
    except ValidationError as refused:
        raise InvalidQuery(*fault_of(refused)) from None


def fields_of_form(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a form as those of a JSON body. Raises InvalidQuery."""
    found: dict[str, Any] = dict(fields)
    for name in _JSON_FIELDS:
        if fields.get(name):
            found[name] = read_json(fields[name], name=name)
        else:
            found.pop(name, None)
    return found


def is_streamed(given: Any) -> bool:
    """Return whether a body asks for a stream. It is known also of a body that is refused for something else."""
    return isinstance(given, Mapping) and given.get("streaming") in _TRUE


def upload_of(given: GivenUpload) -> Upload | None:
    """Return an upload; None for a document that is in the flow's own store already. Raises InvalidQuery."""
    data = given.data or ""
    if given.type == "file:rag":
        return None
    if given.type == "url":
        return Upload.at(data)
    if given.type == "file:full":
        kept = referred_to(data)
        if kept is not None:
            return _kept(given.name, *kept)
        # The text of a file, from a client that had it read elsewhere.
        name = given.name if given.name.endswith((".txt", ".md")) else f"{given.name}.txt"
        return Upload.of(data.encode("utf-8", "replace"), name)
    return Upload.of(read_data_address(data, "uploads.data").content, given.name)


def _kept(name: str, digest: str, size: int) -> Upload:
    try:
        return Upload(name=name, digest=digest, size=size)
    except ValidationError as refused:
        field, reason = fault_of(refused)
        raise InvalidQuery(f"uploads.{field}", reason) from None


def _message_of(given: GivenMessage) -> Message:
    role = _ROLES.get(given.role or given.type or "")
    content = given.content if given.content is not None else given.message
    if role is None or content is None:
        raise InvalidQuery(
            "history", 'each message should have a `role`, "userMessage" or "apiMessage", and a text as its `content`'
        )
    try:
        return Message(role=role, content=content)
    except ValidationError as refused:
        raise InvalidQuery("history", fault_of(refused)[1]) from None
