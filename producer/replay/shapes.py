"""Read an object of a file as items: a line in our own format, or a row of another program's export.

Known are, by the keys that only they have:

- Langfuse's batch exports of traces, observations and dataset items, also with the names of its blob exports
  (`session_id` for `sessionId`), and pages of its API (`{"data": […]}`);
- Flowise's export of chat messages (a conversation an object), and the rows of its API `chatmessage`;
- chats as Claude (`chat_messages`) and ChatGPT (`mapping`) export them; a page of Hugging Face's datasets (`rows`);
- examples of LangSmith's (`inputs`, `outputs`); a question in an inner object or list (see ``within``);
- a table in one object, by its columns; `instruction` with `input` or `context` (Alpaca, Dolly);
- conversations as OpenAI and others write them: `messages`, a batch's `body`, a preference's `input`; `conversations`
  with `from` and `value`; `contents` with `parts` (Gemini); `prompt` and `completion`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentic_flywheel.given import fault_of
from producer.replay.json_values import parse
from producer.replay.langfuse_rows import LANGFUSE, Order, answer_of, is_langfuse_row, of_input, of_langfuse
from producer.replay.reads import FIELDS, NAMELESS, Note, Places, Problem, Questionless, Read, item_of
from producer.replay.results import ItemResult
from producer.replay.said import Said, said_of
from producer.replay.table import is_header
from producer.replay.tables_in_json import BY_COLUMNS, is_page_row, named_row, page_rows, rows_within
from producer.replay.within import at_path, inner_question, people_of, rows_in, texts_in, with_fields

_BODY = ("messages", "conversations", "conversation", "dialog", "contents")
#: Where lines of a batch hold the request: OpenAI's, Anthropic's, Bedrock's; a preference's `input`.
_REQUEST = ("body", "params", "modelInput", "input", "request", "request_body")
_FLOWISE = (
    "is read as Flowise's chat messages: each message of a user is a question, and what follows it the answer of before"
)
_CHATS = "is read as chats: each message of a user is a question, and what follows it the answer of before"
_CONVERSATIONS = "is read as conversations: the last message of a user is the question, and what follows it is expected"
_INSTRUCTIONS = "is read as instructions: each with its `input` is a question, and its `output` what is expected"
_LANGSMITH = "is read as examples of LangSmith's: `inputs` is the question, and `outputs` what is expected"
_CHOOSE = (
    "write the questions into a text, one a line; where every message is a question, name its key: `--column text`"
)
#: Paths of texts that are named where an object has no question.
_PATHS = 6
_TABLE = "is a table of arrays: the first names its columns"
_TWICE = "holds JSON that is written as a text once more; what the text says is read"


class _Pending(NamedTuple):
    """A question of Flowise's whose answer is in a later row."""

    line: int
    fields: dict[str, Any]
    text: str


class Shapes:
    """Turns the objects of one file into items, each with a number of its own."""

    def __init__(self, column: str = "") -> None:
        """``column``: the key of the questions, where it is not `question`."""
        self._column = column
        self._places = Places()
        self._pending: _Pending | None = None
        self._order = Order()
        self._told: set[str] = set()
        self._more_told = False
        #: The names of columns that stand in an array of their own.
        self._names: list[str] = []

    def reads_of(self, line: int, value: Any, text: str) -> Iterator[Read]:
        """Yield what an object gives. ``line`` is where it begins, ``text`` how."""
        if isinstance(value, str):
            inner = _within(value)
            if inner is not None:
                yield from self._note(_TWICE)
            value = {"question": value} if inner is None else inner
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                yield from self.reads_of(line, each, text)
            return
        if isinstance(value, list) and all(isinstance(each, str) for each in value) and is_header(value, self._column):
            yield from self._note(_TABLE)
            self._names = value
            return
        if isinstance(value, list) and self._names:
            value = named_row(self._names, value)
        if isinstance(value, dict) and self._column in ("", "instruction") and (told := _of_instruction(value)):
            yield from self._note(_INSTRUCTIONS)
            yield self._item(line, told, text)
            return
        if not isinstance(value, dict):
            yield Problem(number=line, reason="it is no JSON object", text=text)
            return
        value = with_fields(value)
        if self._column not in ("", "question"):
            named = at_path(value, self._column)
            if named is not None and "question" in value:
                yield Problem(number=line, reason=f"it has both {self._column!r} and 'question'", text=text)
                return
            value = named or value
        if (table := rows_within(value)) is not None:
            yield from self._note(BY_COLUMNS)
            for each in table:
                yield from self.reads_of(line, each, text)
        elif value.keys() >= {"item", "outcome"}:
            yield self._of_result(line, value, text)
        elif "question" in value or "form" in value:
            yield from self._own(line, value, text)
        elif value.keys() >= {"role", "content", "chatId"}:
            yield from self._note(_FLOWISE)
            yield from self._of_message(line, value, text)
        elif "memoryType" in value and isinstance(value.get("messages"), list):
            yield from self._note(_FLOWISE)
            yield from self._of_chat(line, value, value["messages"], text)
        elif isinstance(messages := _chat(value), list):
            yield from self._note(_CHATS)
            yield from self._of_chat(line, value, messages, text)
        elif (page := page_rows(value)) is not None:
            for each in page:
                yield from self.reads_of(line, each, text)
        elif is_page_row(value):
            if cut := ", ".join(map(str, value.get("truncated_cells") or ())):
                yield Problem(number=line, reason=f"the datasets server has cut its {cut[:200]}", text=text)
            else:
                yield from self.reads_of(line, value["row"], text)
        elif isinstance(value.get("data"), list) and all(isinstance(each, dict) for each in value["data"]):
            for each in value["data"]:
                yield from self.reads_of(line, each, text)
        elif is_langfuse_row(value):
            yield from self._note(LANGFUSE)
            if (note := self._order.note(value)) is not None:
                yield note
            yield self._of_fields(line, of_langfuse(value), text)
        elif isinstance(value.get("inputs"), dict) and "outputs" in value:
            yield from self._note(_LANGSMITH)
            yield self._of_fields(line, _of_example(value), text)
        elif (held := inner_question(value)) is not None:
            yield from self._note(f"has its questions in {held[0]!r}: that is read, and beside it fields and outputs")
            yield from self.reads_of(line, held[1], text)
        elif self._column and (rows := rows_in(value, self._column)) is not None:
            yield from self._of_rows(line, rows, text)
        elif not self._column and (whose := people_of(value)):
            reason = f"it is a chat of {whose}, which does not say who asks and who answers"
            yield Questionless(number=line, reason=f"{reason}; {_CHOOSE}", text=text)
        elif (fields := _of_conversation(value)) is not None:
            yield from self._note(_CONVERSATIONS)
            yield self._of_fields(line, fields, text)
        elif (rows := rows_in(value, self._column)) is not None:
            yield from self._of_rows(line, rows, text)
        else:
            yield Questionless(number=line, reason=_no_question(value, self._column), text=text)

    def end(self) -> Iterator[Read]:
        """Yield what waited for a further row."""
        if self._pending is not None:
            yield self._item(*self._pending)
            self._pending = None

    def _of_rows(self, line: int, rows: tuple[str, list[Any]], text: str) -> Iterator[Read]:
        yield from self._note(f"is an object around a list: {rows[0]!r} is read, and nothing else of it")
        for each in rows[1]:
            yield from self.reads_of(line, each, text)

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

    def _own(self, line: int, value: dict[str, Any], text: str) -> Iterator[Read]:
        """Yield the item of an object in our format. Keys that are none of a field's go to its metadata, as in CSV."""
        if isinstance(context := value.get("context"), list) and all(isinstance(each, str) for each in context):
            value = {**value, "context": "\n\n".join(context)}
        elif context is not None and not isinstance(context, str):
            value = {"_context" if name == "context" else name: each for name, each in value.items()}
        if not isinstance(value.get("metadata"), dict | None):
            value = {**value, "metadata": {"metadata": value["metadata"]}}
        own = {name: each for name, each in value.items() if name not in FIELDS}
        metadata = value.get("metadata") or {}
        if own and isinstance(metadata, dict):
            if not self._more_told:
                self._more_told = True
                yield Note(text=f"has keys that are no fields; they go to `metadata`: {', '.join(own)[:200]}")
            value = {name: each for name, each in value.items() if name in FIELDS} | {"metadata": {**own, **metadata}}
        yield self._item(line, value, text)

    def _of_result(self, line: int, value: dict[str, Any], text: str) -> Read:
        try:
            result = ItemResult.model_validate(value)
        except ValidationError as refused:
            return Problem(number=line, reason=": ".join(fault_of(refused)), text=text)
        return result.item.model_copy(update={"number": self._places.take(line), "baseline": result.outcome})

    def _of_chat(self, line: int, value: dict[str, Any], messages: list[Any], text: str) -> Iterator[Read]:
        """Yield the questions of a chat that a program exported, each with the answer that followed it."""
        chat = value.get("id") or value.get("uuid") or value.get("conversation_id")
        session = value.get("sessionId") or chat
        number = 0
        fields: dict[str, Any] | None = None
        for said in map(said_of, messages):
            if isinstance(said, str):
                yield Problem(number=line, reason=said, text=text)
                continue
            if said.role == "user":
                if fields is not None:
                    yield self._item(line, fields, text)
                number += 1
                fields = {"question": said.text, "id": f"{chat}-{number}", "session_id": session}
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


def _chat(value: dict[str, Any]) -> list[Any] | None:
    """Return the messages of a chat as Claude's export has them, or ChatGPT's; None: it is neither.

    ChatGPT keeps each version of a message, in a tree: those on the way to the current one are read.
    """
    if isinstance(value.get("chat_messages"), list):
        return list(value["chat_messages"])
    nodes, at = value.get("mapping"), value.get("current_node")
    if not isinstance(nodes, dict):
        return None
    found: list[Any] = []
    while isinstance(at, str) and isinstance(node := nodes.get(at), dict) and len(found) < len(nodes):
        found.append(node.get("message"))
        at = node.get("parent")
    return [each for each in reversed(found) if isinstance(each, dict) and not _is_hidden(each)]


def _is_hidden(message: dict[str, Any]) -> bool:
    """Whether nobody saw a message of ChatGPT's: a person's own instructions stand before each chat as such."""
    about = message.get("metadata")
    return isinstance(about, dict) and about.get("is_visually_hidden_from_conversation") is True


def _within(text: str) -> dict[str, Any] | None:
    """Return the object that a text says in JSON; None where it says none."""
    try:
        value = parse(text) if text.startswith("{") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _of_instruction(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fields of an instruction: of Alpaca's with its `input`, of Dolly's with its `context`; None: none."""
    told, given = value.get("instruction"), value.get("input")
    if not isinstance(told, str) or "question" in value or not (given is None or isinstance(given, str)):
        return None
    own = {name: value[name] for name in FIELDS & value.keys()}
    expected = value.get("output", value.get("response"))
    return {"expected": expected, **own, "question": f"{told}\n\n{given}" if given else told}


def _no_question(value: dict[str, Any], column: str) -> str:
    """Return what an object has where it has no question; of texts in inner objects the paths."""
    inner = [each for each in texts_in(value) if "." in each][:_PATHS]
    names = ", ".join([*value, *inner])[:300] or "nothing"
    return f"it has no {column or 'question'!r} but {names}; {NAMELESS}"


def _of_example(value: dict[str, Any]) -> dict[str, Any] | str:
    """Return the fields of an example of LangSmith's: its inputs are the question, its outputs what is expected."""
    asked = of_input(value["inputs"])
    if isinstance(asked, str):
        return asked
    return {**asked, "id": value.get("id"), "expected": answer_of(value["outputs"])}


def _of_conversation(value: dict[str, Any]) -> dict[str, Any] | str | None:
    """Return the fields of a conversation as OpenAI writes it, or why it cannot be asked; None: it is none."""
    own = {name: value[name] for name in FIELDS & value.keys()}
    outer = next((value[name] for name in _REQUEST if name in value), None)
    messages = _messages(outer if isinstance(outer, dict) else value)
    if messages is not None:
        return _of_messages(messages, value, own)
    if isinstance(value.get("prompt"), str):
        return {"expected": value.get("completion", value.get("response")), **own, "question": value["prompt"]}
    if "custom_id" in value and "response" in value:
        return "it is the answer of a batch and holds no question; give the file that the batch was made from"
    return None


def _messages(value: Mapping[str, Any]) -> list[Any] | None:
    """Return the messages of an object; the `input` of OpenAI's Responses may be one text."""
    for name in (*_BODY, "input", "prompt", "chosen"):
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
    answers = value.get("preferred_output") or value.get("completion")
    preferred = [said_of(each) for each in answers if isinstance(each, dict)] if isinstance(answers, list) else []
    after = [*turns[last + 1 :], *(each for each in preferred if isinstance(each, Said))]
    return {
        "id": value.get("custom_id", value.get("recordId")),
        "question": turns[last].text,
        "history": [each.message() for each in turns[:last]],
        "expected": after[0].text if after else value.get("ideal"),
        **own,
        "metadata": metadata or None,
    }
