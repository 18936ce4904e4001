"""What a flow did for an answer, beside its text: steps, tools, artifacts, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, JsonValue

from agentic_flywheel.base import Model
from agentic_flywheel.prices import Cost

#: Tokens of one answer. A server that tells more has not counted them.
MOST_TOKENS = 10**12


def tokens_of(told: object) -> int:
    """Return a number of tokens as a server tells it; 0 where it tells none, or one that cannot be."""
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return told if isinstance(told, int) and not isinstance(told, bool) and 0 < told <= MOST_TOKENS else 0


Tokens = Annotated[int, BeforeValidator(tokens_of)]


class Usage(Model):
    """Token usage of a flow, or of one of its steps, where its server tells."""

    input_tokens: Tokens = 0
    #: Of these, how many the model's server had kept from an earlier call.
    cached_input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    total_tokens: Tokens = 0
    model: str | None = None
    #: By the registry's prices at that time; None: not known.
    cost: Cost | None = None


class ToolUse(Model):
    """One tool that a flow used: what it was given and what it gave."""

    name: str
    input: JsonValue = None
    output: JsonValue = None
    error: str | None = None
    #: Id of the step that used it; empty where the flow does not tell.
    step: str = ""


#: The status of a step or a tool that has begun and not ended.
RUNNING = "running"


class FlowStep(Model):
    """One node of a flow that ran. A node that ran three times is three steps."""

    #: Flowise's id of the node, the name that its author gave it, and its kind, such as ``agentAgentflow``.
    id: str
    name: str
    kind: str = ""
    #: ``running``, ``finished``, ``stopped``, ``error`` or ``terminated``: Flowise's own word, in lower case.
    status: str
    #: When it began and how long it took; None where neither Flowise nor its stream told.
    started: AwareDatetime | None = None
    elapsed: timedelta | None = None
    usage: Usage | None = None
    #: What the model said to itself, where Flowise tells.
    reasoning: str = ""
    error: str | None = None


def step_object(step: FlowStep) -> dict[str, JsonValue]:
    """Return a step as a JSON object without what it does not tell, its duration as ``elapsed_ms``."""
    value: dict[str, JsonValue] = step.model_dump(mode="json", exclude_defaults=True, exclude={"elapsed"})
    if step.elapsed is not None:
        value["elapsed_ms"] = round(step.elapsed.total_seconds() * 1000, 1)
    return value


#: Where loaders of documents put a name, the most telling first.
_NAMES = ("source", "title", "fileName", "file_name", "filename", "url", "name")


def source_name(source: Mapping[str, JsonValue]) -> str:
    """Return what a source document is called by its loader; empty where it has no name."""
    metadata = source.get("metadata")
    about = metadata if isinstance(metadata, Mapping) else {}
    named = (about[name] for name in _NAMES if isinstance(about.get(name), str))
    return next((str(each) for each in named if str(each).strip()), "")


def source_page(source: Mapping[str, JsonValue]) -> int | None:
    """Return the page of a source document; None where its loader does not tell."""
    metadata = source.get("metadata")
    about = metadata if isinstance(metadata, Mapping) else {}
    place = about.get("loc")
    page = place.get("pageNumber") if isinstance(place, Mapping) else about.get("page")
    return page if isinstance(page, int) else None


class Artifact(Model):
    """Something that a flow made beside its text: a picture, a page, a file. Never the bytes themselves."""

    #: Flowise's word for it, such as ``png``, ``html`` or ``file``.
    type: str
    name: str = ""
    #: Where it can be fetched: a path of the flow's Flowise server, or an address elsewhere; None: nowhere.
    link: str | None = None
    #: The content of one that Flowise does not keep, where it is text.
    text: str = ""
    #: Size of content that is not kept here; None where all of it is, or where Flowise has it.
    bytes_left_out: int | None = None
