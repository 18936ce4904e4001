"""Failures of the OpenAI-compatible API."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class UnsupportedParameter(FlywheelError):
    """A request asks for something that would change what the answer means, and no flow can be told of it."""

    parameter: str
    reason: str

    suggestions = (
        "Leave the parameter out, or give null.",
        "Set in Flowise what the flow should do: the flow decides, not the request.",
        "See docs/http.md: it lists what is taken, what is taken and not used, and what is refused.",
    )

    @property
    def message(self) -> str:
        return f"The parameter {self.parameter!r} is not supported here: {self.reason}"


@dataclass(eq=False)
class UnknownModel(FlywheelError):
    """A model is `auto`, a domain or the key of a flow, and this is none of them."""

    model: str
    known: list[str] = field(default_factory=list)

    suggestions = (
        "Give `auto`: the flow that fits best is then chosen for each question.",
        "See which models there are: GET /v1/models.",
        "Add the flow to the registry with `flywheel flows add`, or set its `active: true`; one that a webhook or a "
        "schedule starts takes no questions.",
    )

    @property
    def message(self) -> str:
        return f"There is no model {self.model!r}; known: {', '.join(self.known)}"


@dataclass(eq=False)
class ContextTooLong(FlywheelError):
    """A conversation is longer than what a query may hold; nothing was submitted."""

    what: str
    size: int
    most: int
    unit: str = "characters"

    suggestions = (
        "Send less of it: the latest messages, or a shorter system message.",
        "Begin a new conversation.",
        "Put long texts into files, where the flow reads files: they go with the question by the native API.",
    )

    @property
    def message(self) -> str:
        return f"{self.what} has {self.size:,} {self.unit}, at most {self.most:,} are accepted"


@dataclass(eq=False)
class SideCallRefused(FlywheelError):
    """A chat program asks for a title, tags or the like, and the registry names no flow for that."""

    #: The program that is known to send such calls.
    program: str

    suggestions = (
        "Name a flow for such calls in the registry: `side_calls` in `intent_classification`.",
        "Turn titles, tags and follow-ups off in the chat program, or give it another model for them.",
        "If it is a question after all, begin it with other words, or ask for a stream.",
    )

    @property
    def message(self) -> str:
        return (
            f"This looks like a call for a title, tags or follow-up questions, as {self.program} sends it beside a "
            "conversation, and the registry names no flow for such calls; it was not taken for a question"
        )


@dataclass(eq=False)
class EmbeddingsNotOffered(FlywheelError):
    """A flow answers in words; there is nothing here that makes vectors."""

    suggestions = (
        "Give the program the address of a server of embeddings for its embeddings.",
        "Have the search done in a flow: a Flowise flow embeds and retrieves by itself.",
        "See which models there are for chat: GET /v1/models.",
    )

    @property
    def message(self) -> str:
        return "Embeddings are not offered: flows answer questions, and none of them makes vectors"
