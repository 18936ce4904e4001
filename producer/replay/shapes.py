"""Read an object of a file as items: a line in our own format, or a row of another program's export.

Known are, by the keys that only they have:

- Langfuse's batch exports of traces, observations and dataset items, also with the names of its blob exports
  (`session_id` for `sessionId`), and pages of its API (`{"data": […]}`);
- Flowise's export of chat messages (a conversation an object), and the rows of its API `chatmessage`;
- conversations as OpenAI and others write them: `messages`, a batch's `body`, a preference's `input`; `conversations`
  with `from` and `value`; `prompt` and `completion`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentic_flywheel.given import fault_of
from producer.replay.langfuse_rows import LANGFUSE, Order, is_langfuse_row, of_langfuse
from producer.replay.reads import FIELDS, Note, Places, Problem, Read, item_of
from producer.replay.results import ItemResult
from producer.replay.said import Said, said_of

_BODY = ("messages", "conversations")
_FLOWISE = (
    "is read as Flowise's chat messages: each message of a user is a question, and what follows it the answer of before"
)
_CONVERSATIONS = "is read as conversations: the last message of a user is the question, and what follows it is expected"


class _Pending(NamedTuple):
    """A question of Flowise's whose answer is in a later row."""

    line: int
    fields: dict[str, Any]
    text: str


class Shapes:
    """Turns the objects of one file into items, each with a number of its own."""

    def __init__(self) -> None:
        self._places = Places()
        self._pending: _Pending | None = None
        self._order = Order()
        self._told: set[str] = set()

    def reads_of(self, line: int, value: Any, text: str) -> Iterator[Read]:
        """Yield what an object gives. ``line`` is where it begins, ``text`` how."""
        if isinstance(value, str):
            value = {"question": value}
        if not isinstance(value, dict):
            yield Problem(number=line, reason="it is no JSON object", text=text)
        elif value.keys() >= {"item", "outcome"}:
            yield self._of_result(line, value, text)
        elif "question" in value or "form" in value:
            yield self._item(line, value, text)
        elif value.keys() >= {"role", "content", "chatId"}:
            yield from self._note(_FLOWISE)
            yield from self._of_message(line, value, text)
        elif "memoryType" in value and isinstance(value.get("messages"), list):
            yield from self._note(_FLOWISE)
            yield from self._of_conversation(line, value, text)
        elif isinstance(value.get("data"), list):
            for each in value["data"]:
                yield from self.reads_of(line, each, text)
        elif is_langfuse_row(value):
            yield from self._note(LANGFUSE)
            if (note := self._order.note(value)) is not None:
                yield note
            yield self._of_fields(line, of_langfuse(value), text)
        elif (fields := _of_conversation(value)) is not None:
            yield from self._note(_CONVERSATIONS)
            yield self._of_fields(line, fields, text)
        else:
            yield self._item(line, value, text)

    def end(self) -> Iterator[Read]:
        """Yield what waited for a further row."""
        if self._pending is not None:
            yield self._item(*self._pending)
            self._pending = None

    def _note(self, text: str) -> Iterator[Note]:
        if text not in self._told:
            self._told.add(text)
            yield Note(text=text)

    def _of_fields(self, line: int, fields: dict[str, Any] | str, text: str) -> Read:
        if isinstance(fields, str):
            return Problem(number=line, reason=fields, text=text)
        return self._item(line, fields, text)

    def _item(self, line: int, fields: dict[str, Any], text: str) -> Read:
        return item_of(self._places.take(line), fields, line=line, text=text)

    def _of_result(self, line: int, value: dict[str, Any], text: str) -> Read:
        try:
            result = ItemResult.model_validate(value)
        except ValidationError as refused:
            return Problem(number=line, reason=": ".join(fault_of(refused)), text=text)
        return result.item.model_copy(update={"number": self._places.take(line), "baseline": result.outcome})

    def _of_conversation(self, line: int, value: dict[str, Any], text: str) -> Iterator[Read]:
        """Yield the questions of a conversation that Flowise exported, each with the answer that followed it."""
        session = value.get("sessionId") or value.get("id")
        number = 0
        fields: dict[str, Any] | None = None
        for said in map(said_of, value["messages"]):
            if isinstance(said, str):
                yield Problem(number=line, reason=said, text=text)
                continue
            if said.role == "user":
                if fields is not None:
                    yield self._item(line, fields, text)
                number += 1
                fields = {"question": said.text, "id": f"{value.get('id')}-{number}", "session_id": session}
                fields["metadata"] = {"source": value["source"]} if value.get("source") else None
            elif fields is not None and said.role == "assistant":
                fields["answer"] = f"{fields['answer']}\n\n{said.text}" if "answer" in fields else said.text
        if fields is not None:
            yield self._item(line, fields, text)

    def _of_message(self, line: int, value: dict[str, Any], text: str) -> Iterator[Read]:
        """Yield the question before this row of Flowise's API, with the answer where this row is it."""
        said = said_of(value)
        if isinstance(said, str):
            yield Problem(number=line, reason=said, text=text)
            return
        session = value.get("sessionId") or value["chatId"]
        if said.role == "assistant":
            if self._pending is not None and self._pending.fields["session_id"] == session:
                self._pending.fields["answer"] = said.text
            return
        yield from self.end()
        fields = {"question": said.text, "id": value.get("id"), "session_id": session}
        self._pending = _Pending(line, fields, text)


def _of_conversation(value: dict[str, Any]) -> dict[str, Any] | str | None:
    """Return the fields of a conversation as OpenAI writes it, or why it cannot be asked; None: it is none."""
    own = {name: value[name] for name in FIELDS & value.keys()}
    outer = value.get("body", value.get("input"))
    messages = _messages(outer if isinstance(outer, dict) else value)
    if messages is not None:
        return _of_messages(messages, value, own)
    if isinstance(value.get("prompt"), str):
        return {**own, "question": value["prompt"], "expected": value.get("completion")}
    if "custom_id" in value and "response" in value:
        return "it is the answer of a batch and holds no question; give the file that the batch was made from"
    return None


def _messages(value: Mapping[str, Any]) -> list[Any] | None:
    """Return the messages of an object; the `input` of OpenAI's Responses may be one text."""
    for name in (*_BODY, "input"):
        if isinstance(value.get(name), list):
            return list(value[name])
    if isinstance(value.get("input"), str) and "model" in value:
        return [{"role": "user", "content": value["input"]}]
    return None


def _of_messages(messages: list[Any], value: dict[str, Any], own: dict[str, Any]) -> dict[str, Any] | str:
    """Return the last question with the conversation before it; what followed it is what is expected."""
    said = [said_of(each) for each in messages]
    faulty = next((each for each in said if isinstance(each, str)), None)
    if faulty is not None:
        return faulty
    spoken = [each for each in said if isinstance(each, Said) and (each.text or each.role == "user")]
    turns = [each for each in spoken if each.role in ("user", "assistant")]
    last = max((number for number, each in enumerate(turns) if each.role == "user"), default=None)
    if last is None:
        return "none of its messages is a user's"
    metadata = own.get("metadata") or {}
    system = "\n\n".join(each.text for each in spoken if each.role == "system")
    if system and isinstance(metadata, dict):
        metadata = {**metadata, "system": system}
    preferred = [said_of(each) for each in value.get("preferred_output") or () if isinstance(each, dict)]
    after = [*turns[last + 1 :], *(each for each in preferred if isinstance(each, Said))]
    return {
        "id": value.get("custom_id"),
        "question": turns[last].text,
        "history": [each.message() for each in turns[:last]],
        "expected": after[0].text if after else None,
        **own,
        "metadata": metadata or None,
    }
