"""The messages of a chat completion as what our queries have: a question, the history, a context, images.

The last message is the question, since a chat program sends the whole conversation each time; the messages of user and
assistant before it are its history, which a flow is told instead of what it remembers itself; `system` and `developer`
messages are its context, and stand in front of the question where they are too long for that. Images go with the
question; those of earlier messages leave a mark in the history, where a flow can be given text alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agentic_flywheel.data_addresses import is_data_address, read_data_address
from agentic_flywheel.errors import ContextTooLong, InvalidQuery, UnsupportedParameter
from agentic_flywheel.given import MAX_CONTEXT, MAX_QUERY_BYTES, MAX_QUESTION, WITHOUT_WORDS, Text
from agentic_flywheel.models import Message
from agentic_flywheel.texts import is_blank
from agentic_flywheel.uploads import Upload

#: Most messages of one request; the bound of their bytes is narrower for all but the shortest.
MOST_MESSAGES = 4000
#: Bytes of a query beside the question and its history: its context, and names.
_BESIDE = 4 * MAX_CONTEXT + 4096
#: What stands in the history for an image of an earlier message.
MARK = "[image]"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TextPart(_Part):
    """A part of a message that is text."""

    type: Literal["text"]
    text: Text


class RefusalPart(_Part):
    """What a model said when it refused, in an earlier answer."""

    type: Literal["refusal"]
    refusal: Text


class ImageAddress(_Part):
    """Where an image is: a data: URL that holds it, or an address."""

    url: Annotated[str, Field(min_length=1)]


class ImagePart(_Part):
    """A part of a message that is an image."""

    type: Literal["image_url"]
    image_url: ImageAddress


def _as_parts(content: Any) -> Any:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Part = Annotated[TextPart | RefusalPart | ImagePart, Field(discriminator="type")]


class ChatMessage(BaseModel):
    """One message. What clients keep beside it, such as a name or annotations, is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], BeforeValidator(_as_parts)] = Field(default_factory=list)
    tool_calls: list[Any] | None = None
    function_call: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """All that it says; a mark for each image."""
        return "\n".join(map(_said, self.content))

    @property
    def words(self) -> str:
        """What it says in words."""
        return "\n".join(_said(part) for part in self.content if not isinstance(part, ImagePart))

    @property
    def images(self) -> list[str]:
        return [part.image_url.url for part in self.content if isinstance(part, ImagePart)]


def _said(part: TextPart | RefusalPart | ImagePart) -> str:
    if isinstance(part, TextPart):
        return part.text
    return part.refusal if isinstance(part, RefusalPart) else MARK


class Conversation(NamedTuple):
    """What a query is made of."""

    question: str
    history: tuple[Message, ...]
    context: str | None
    uploads: tuple[Upload, ...]


def conversation_of(messages: list[ChatMessage]) -> Conversation:
    """Return the conversation that messages are. Raises InvalidQuery, UnsupportedParameter, ContextTooLong."""
    told = [(place, each) for place, each in enumerate(messages) if each.role in ("system", "developer")]
    said = [(place, each) for place, each in enumerate(messages) if each.role in ("user", "assistant")]
    if not said or said[-1][1].role != "user":
        raise InvalidQuery("messages", "the last message should be the user's: it is the question")
    place, asked = said[-1]
    for at, each in said:
        if each.tool_calls or each.function_call:
            raise UnsupportedParameter(f"messages.{at}.tool_calls", "a flow has its own tools, and uses them itself")
    for at, each in told:
        if each.images:
            raise InvalidQuery(
                f"messages.{at}.content", "an image goes with a question: put it into the user's message"
            )
    context = "\n\n".join(filter(None, (each.words.strip() for _, each in told))) or None
    question = asked.words
    if is_blank(question):
        if not asked.images:
            raise InvalidQuery(f"messages.{place}.content", "it holds nothing but white space")
        question = WITHOUT_WORDS
    if context is not None and len(context) > MAX_CONTEXT:
        # Such as the passages that a chat program has found: most flows would be told it in front of the question, too.
        question, context = f"{context}\n\n{question}", None
    conversation = Conversation(
        question=question,
        history=tuple(_message(each) for _, each in said[:-1] if each.text.strip()),
        context=context,
        uploads=tuple(_image(url, f"messages.{place}.content", n) for n, url in enumerate(asked.images, 1)),
    )
    _check_lengths(conversation)
    return conversation


def _message(message: ChatMessage) -> Message:
    return Message(role="userMessage" if message.role == "user" else "apiMessage", content=message.text)


def _check_lengths(conversation: Conversation) -> None:
    """Raises ContextTooLong. Nothing is cut: a client that is not told would not know what the flow never read."""
    if len(conversation.question) > MAX_QUESTION:
        what = "The last message, with long system messages in front of it,"
        raise ContextTooLong(what, len(conversation.question), MAX_QUESTION)
    size = sum(len(each.model_dump_json().encode()) + 1 for each in conversation.history)
    size += len(conversation.question.encode())
    if size > MAX_QUERY_BYTES - _BESIDE:
        raise ContextTooLong("The conversation", size, MAX_QUERY_BYTES - _BESIDE, "bytes")


def _image(url: str, where: str, number: int) -> Upload:
    """Return an image as an upload. Raises InvalidQuery."""
    if not is_data_address(url):
        return _at(url, where)
    held = read_data_address(url, where)
    name = held._replace(name="").file_name(f"image-{number}")
    if not held.type.startswith("image/") or not name:
        raise InvalidQuery(where, f"flows take no images of the type {held.type[:100] or 'that is not named'}")
    return Upload.of(held.content, name)


def _at(url: str, where: str) -> Upload:
    try:
        if urlsplit(url).scheme != "https":
            raise ValueError("anybody on the way could give another image")
        return Upload.at(url)
    except (ValueError, InvalidQuery):
        raise InvalidQuery(
            where, "an image's address should begin with https:// and end with the name of an image, such as cat.png"
        ) from None
