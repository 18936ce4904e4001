"""What a flow is told beside the question: history, session and override config, and the digest of it all."""

from __future__ import annotations

from pydantic import JsonValue

from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Message, Model, Query, Turn
from agentic_flywheel.persistence import history_digest

#: So many turns are sent to a flow that does not remember by itself.
HISTORY_TURNS = 5


class Context(Model):
    """Everything that goes into a call, and ``digest``, which tells two calls with different context apart."""

    question: str
    config: dict[str, JsonValue] = {}
    history: tuple[Message, ...] = ()
    #: The session under which Flowise itself remembers; None where it is not to.
    session_id: str | None = None
    digest: str = ""


def compose(query: Query, flow: Flow, turns: list[Turn]) -> Context:
    """Return the context of a query for a flow. ``turns`` are the session's last ones, the oldest first.

    History is sent, or Flowise remembers, never both. Flowise's own memory is relied on only where it holds every turn:
    one that was answered from the cache, or by another flow, it has never seen.
    """
    config = {**flow.config, **query.config}
    if query.history:
        return Context(question=query.question, config=config, history=query.history, digest=_of(query.history))
    if flow.memory == "none" or query.session_id is None:
        return Context(question=query.question, config=config)
    if flow.memory == "flowise" and all(turn.remembered and turn.flow == flow.key for turn in turns):
        digest = f"{query.session_id}:{history_digest(turns)}" if turns else ""
        return Context(question=query.question, config=config, session_id=query.session_id, digest=digest)
    recent = turns[-HISTORY_TURNS:]
    history = tuple(
        message
        for turn in recent
        for message in (
            Message(role="userMessage", content=turn.question),
            Message(role="apiMessage", content=turn.answer),
        )
    )
    return Context(question=query.question, config=config, history=history, digest=history_digest(recent))


def _of(history: tuple[Message, ...]) -> str:
    return repr([(message.role, message.content) for message in history])
