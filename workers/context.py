"""Everything that a flow is sent with a question: profile, history, session, override config. And its digest."""

from __future__ import annotations

from typing import TypedDict

from pydantic import Field, JsonValue

from agentic_flywheel.asker import Asker
from agentic_flywheel.backends.models import overridden
from agentic_flywheel.broker.persistence import history_digest
from agentic_flywheel.broker.sessions import flowise_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.given import Form
from agentic_flywheel.models import Message, Model, Query, Turn
from agentic_flywheel.profiles import Briefing, ContextType, injected
from agentic_flywheel.recalling import as_messages, fitting
from agentic_flywheel.uploads import Upload


class Context(Model):
    """Everything that goes into a call. ``digest`` is a hash of it for the cache key."""

    question: str
    #: Sent instead of the question.
    form: Form = Field(default_factory=dict)
    #: Sent with it; and whose they are.
    uploads: tuple[Upload, ...] = ()
    asker: Asker = Asker()
    #: The flow's configuration with the query's override merged over it.
    config: dict[str, JsonValue] = Field(default_factory=dict)
    #: Further overrides, which contain a profile's text. They are sent with ``config`` and never recorded.
    carried: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    #: Turns of the session that are not in the history; whether the oldest turn in it was shortened.
    left_out: int = 0
    shortened: bool = False
    #: The name under which Flowise itself remembers the conversation; None where it should not.
    session_id: str | None = None
    profile: str | None = None
    kind: ContextType | None = None
    #: Whether the profile is confidential, so that question and answer stay out of traces and shared answers.
    private: bool = False
    digest: str = ""
    #: What whoever reads the answer should know of it, a sentence each.
    warnings: tuple[str, ...] = ()


class _Conversation(TypedDict, total=False):
    """The fields of a Context that say what was said before."""

    history: tuple[Message, ...]
    left_out: int
    shortened: bool
    session_id: str
    digest: str
    warnings: tuple[str, ...]


#: Said where a profile could not be told.
_NOT_TOLD = (
    "The profile's context was not told: the flow begins with a form and is sent no question to put it in front of. "
    "Give the flow `injection: system` or `vars`."
)
#: Said where a server remembers by itself, takes no history, and has not answered every turn.
_NOT_HEARD = (
    "The flow's server was not told all that was said: turns that another flow or the cache has answered are not in "
    "its own memory, and its request has no place for them."
)


def compose(
    query: Query,
    flow: Flow,
    turns: list[Turn],
    told: Briefing | None = None,
    life: str = "",
    *,
    takes_history: bool = True,
) -> Context:
    """Return the context of a query for a flow. ``turns`` are those that are kept of its session, the oldest first;
    ``life`` is the session's, if it has one.

    History is sent, or Flowise remembers, never both. Flowise's own memory is relied on only where it holds every turn:
    one that was answered from the cache, or by another flow, it has never seen. A server that takes no history goes on
    with what it remembers, and a warning says so; with ``memory: none`` it is asked each question by itself. What was
    said under a confidential profile is told under that profile only, and Flowise remembers it under a session of its
    own.
    """
    private_to = told.profile if told is not None and told.confidential else None
    context = Context(
        question=query.question,
        config=overridden(flow.config, query.config),
        form=query.form,
        uploads=query.uploads,
        asker=query.asker,
        **_conversation(query, flow, turns, private_to, life, takes_history=takes_history),
    )
    if told is None:
        return context
    if query.form and flow.injection == "prepend":
        return context.model_copy(update={"private": told.confidential, "warnings": (*context.warnings, _NOT_TOLD)})
    question, carried = injected(flow.injection, told, query.question, context.config)
    about = {"profile": told.profile, "kind": told.kind, "private": told.confidential}
    digest = f"{context.digest}|{told.digest}"
    return context.model_copy(update={**about, "question": question, "carried": carried, "digest": digest})


def _conversation(
    query: Query, flow: Flow, turns: list[Turn], private_to: str | None, life: str, *, takes_history: bool
) -> _Conversation:
    if query.history and (takes_history or flow.memory != "none"):
        return {"history": query.history, "digest": _of(query.history)}
    if flow.memory == "none" or query.session_id is None:
        return {}
    heard = [turn for turn in turns if turn.private_to is None or turn.private_to == private_to]
    there = all(turn.remembered and turn.flow == flow.key and turn.private_to == private_to for turn in heard)
    if flow.memory == "flowise" and life and (there or not takes_history):
        session = flowise_session(life, private_to)
        # Flowise may remember more than these turns: within a conversation an answer is never anybody else's.
        digest = f"{session}:{history_digest(heard)}" if turns else ""
        said = () if there else (_NOT_HEARD,)
        return {"session_id": session, "digest": digest, "warnings": said}
    sent = fitting(heard, flow)
    history = as_messages(sent)
    return {
        "history": history,
        "left_out": len(heard) - len(sent),
        "shortened": sent != [(turn.question, turn.answer) for turn in heard[len(heard) - len(sent) :]],
        "digest": _of(history) if history else "",
    }


def _of(history: tuple[Message, ...]) -> str:
    return repr([(message.role, message.content) for message in history])
