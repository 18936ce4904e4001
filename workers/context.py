"""What a flow is told beside the question: profile, history, session and override config, and the digest of it all."""

from __future__ import annotations

from pydantic import Field, JsonValue

from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Message, Model, Query, Turn
from agentic_flywheel.persistence import history_digest
from agentic_flywheel.profiles import Briefing, ContextType, injected

#: So many turns are sent to a flow that does not remember by itself.
HISTORY_TURNS = 5


class Context(Model):
    """Everything that goes into a call, and ``digest``, which tells two calls with different context apart."""

    question: str
    #: What the registry and the query override.
    config: dict[str, JsonValue] = Field(default_factory=dict)
    #: Overrides that carry a profile's text; sent over those of ``config`` and never recorded.
    carried: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    #: The session under which Flowise itself remembers; None where it is not to.
    session_id: str | None = None
    profile: str | None = None
    kind: ContextType | None = None
    #: Under a confidential profile: what is asked and answered is its owner's alone.
    private: bool = False
    digest: str = ""


def compose(query: Query, flow: Flow, turns: list[Turn], told: Briefing | None = None) -> Context:
    """Return the context of a query for a flow. ``turns`` are the session's last ones, the oldest first.

    History is sent, or Flowise remembers, never both. Flowise's own memory is relied on only where it holds every turn:
    one that was answered from the cache, or by another flow, it has never seen. What was said under a confidential
    profile is told under that profile only, and Flowise remembers it under a session of its own.
    """
    if told is None:
        return _conversation(query, flow, turns, None)
    context = _conversation(query, flow, turns, told.profile if told.confidential else None)
    question, carried = injected(flow.injection, told, query.question, context.config)
    about = {"profile": told.profile, "kind": told.kind, "private": told.confidential}
    digest = f"{context.digest}|{told.digest}"
    return context.model_copy(update={**about, "question": question, "carried": carried, "digest": digest})


def _conversation(query: Query, flow: Flow, turns: list[Turn], private_to: str | None) -> Context:
    config = {**flow.config, **query.config}
    if query.history:
        return Context(question=query.question, config=config, history=query.history, digest=_of(query.history))
    if flow.memory == "none" or query.session_id is None:
        return Context(question=query.question, config=config)
    heard = [turn for turn in turns if turn.private_to is None or turn.private_to == private_to]
    if flow.memory == "flowise" and all(
        turn.remembered and turn.flow == flow.key and turn.private_to == private_to for turn in heard
    ):
        session = query.session_id if private_to is None else f"{query.session_id}:{private_to}"
        # Flowise may remember more than these turns: within a conversation an answer is never anybody else's.
        digest = f"{session}:{history_digest(heard)}" if turns else ""
        return Context(question=query.question, config=config, session_id=session, digest=digest)
    recent = heard[-HISTORY_TURNS:]
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
