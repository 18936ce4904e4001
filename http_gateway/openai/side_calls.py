"""Side calls: what chat programs ask a model beside the conversation: its title, tags, follow-up questions.

They come to the same model, with the conversation as their text. As questions they would cost a flow's call each, and
stand in the user's session as if the user had said them.
"""

from __future__ import annotations

from collections.abc import Sequence

from http_gateway.openai.messages import ChatMessage

#: How the texts of such calls begin, and who sends them. Looked up in the programs' sources.
_BEGINNINGS = {
    "Provide a concise, 5-word-or-less title for the conversation": "LibreChat",
    "You are a professional conversation summarizer. Generate a concise title": "LobeChat",
}
#: Open WebUI begins all its templates so. A person may, too, so more has to fit: no stream, and nothing said before.
_TASK = "### Task:"


def program_of(messages: Sequence[ChatMessage], *, stream: bool) -> str:
    """Return the program that sends a call like this beside a conversation; empty: it is a question."""
    first = messages[0].words.lstrip()
    said = [each for each in messages if each.role in ("user", "assistant")]
    if not stream and len(said) == 1 and said[0].words.lstrip().startswith(_TASK):
        return "Open WebUI"
    if len(said) != 1:
        return ""
    texts = (first, said[0].words.lstrip())
    return next((program for begin, program in _BEGINNINGS.items() if any(t.startswith(begin) for t in texts)), "")
