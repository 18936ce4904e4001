"""Which turns of a conversation a flow is told."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Message, Turn


def fitting(turns: Sequence[Turn], flow: Flow) -> list[tuple[str, str]]:
    """Return the latest questions and answers that fit what the flow is sent; the last one in any case, cut if need be.

    A gap would mislead a flow more than a short memory: the turns that are sent follow each other.
    """
    sent: list[tuple[str, str]] = []
    room = flow.history_chars
    for turn in reversed(turns[-flow.history_turns :]):
        room -= len(turn.question) + len(turn.answer)
        if room < 0:
            break
        sent.append((turn.question, turn.answer))
    if turns and not sent:
        last, room = turns[-1], flow.history_chars
        answer = _cut(last.answer, max(room - len(last.question), room // 2))
        sent.append((_cut(last.question, room - len(answer)), answer))
    return sent[::-1]


def as_messages(sent: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """Return questions and their answers as the messages of a conversation."""
    return tuple(
        message
        for question, answer in sent
        for message in (Message(role="userMessage", content=question), Message(role="apiMessage", content=answer))
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
