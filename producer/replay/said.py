"""One message of a conversation, as different programs write it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Role = Literal["user", "assistant", "system", "tool"]

_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "userMessage": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "apiMessage": "assistant",
    "bot": "assistant",
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
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        return f"one of its messages has a role that is not known: {str(name)[:40]!r} (known are {_KNOWN})"
    text = text_of_content(next((message[key] for key in _WHAT if message.get(key)), ""))
    if text is None and role == "user":
        return "a message of its user is no text: pictures, sound and files cannot be asked"
    return Said(role, text or "")


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
