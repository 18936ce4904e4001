"""One message of a conversation, as different programs write it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Role = Literal["user", "assistant", "system", "tool"]

_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "usermessage": "user",
    "customer": "user",
    "client": "user",
    "visitor": "user",
    "prompter": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "apimessage": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "operator": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "function": "tool",
    "tool": "tool",
}
#: What is said of roles.
_KNOWN = "user, assistant, system, tool"
#: Under which keys a message says who speaks, and what; LangChain says it in `type`.
_WHO, _WHAT = ("role", "from", "sender", "type"), ("content", "value", "parts", "text")


class Said(NamedTuple):
    """One message: its role and its text."""

    role: Role
    text: str

    def message(self) -> dict[str, str]:
        """Return it as a query's history has it."""
        return {"role": "userMessage" if self.role == "user" else "apiMessage", "content": self.text}


def said_of(message: Any) -> Said | str:
    """Return what a message says, or why it cannot be asked. What is no text of a tool or an assistant is left out."""
    if not isinstance(message, dict):
        return "one of its messages is no object"
    if isinstance(message.get("kwargs"), dict):
        message = message["kwargs"]  # as LangChain writes its objects
    author = message.get("author")
    name = author.get("role") if isinstance(author, dict) else next(filter(None, map(message.get, _WHO)), None)
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        return f"one of its messages has a role that is not known: {str(name)[:40]!r} (known are {_KNOWN})"
    text = text_of_content(next((message[key] for key in _WHAT if message.get(key)), ""))
    if text is None and role == "user":
        return "a message of its user is no text: pictures, sound and files cannot be asked"
    return Said(role, text or "")


def history_of(given: Any) -> Any:
    """Return a history as a query has it, from messages as OpenAI writes them or pairs of a question and its answer.

    What is neither is returned as it is: a query refuses it by name.
    """
    if not isinstance(given, list):
        return given
    roles = ("user", "assistant")
    if given and all(isinstance(each, list) and len(each) == len(roles) for each in given):
        given = [{"role": role, "content": text} for each in given for role, text in zip(roles, each, strict=True)]
    said = [said_of(each) for each in given]
    known = [each for each in said if isinstance(each, Said) and each.role in roles]
    return [each.message() for each in known] if len(known) == len(given) else given


def text_of_content(content: Any) -> str | None:
    """Return the text of a message's content, which may be in parts; None where something else is in it."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = content.get("parts")
    if not isinstance(content, list):
        return None
    parts = [each.get("text") if isinstance(each, dict) else each for each in content]
    texts = [each for each in parts if isinstance(each, str)]
    return "\n".join(texts) if texts and len(texts) == len(parts) else None
