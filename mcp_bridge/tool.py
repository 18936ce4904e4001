"""What a tool is: a function with typed arguments and a typed result, described well enough to be used right."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from mcp_types import CallToolResult, TextContent, ToolAnnotations, ToolExecution
from mcp_types import Tool as ListedTool
from pydantic import BaseModel, ConfigDict, model_validator

from agentic_flywheel.models import Model
from mcp_bridge.bridge import Bridge
from producer import AsyncProducer

#: Looks only.
READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
#: Looks only, and asks Flowise or Langfuse for it.
READS_OUTSIDE = READS.model_copy(update={"open_world_hint": True})
#: Asks a flow, which may do anything; asking twice is asking twice.
ASKS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
#: Adds something to what is there.
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
#: Replaces a setting; setting it again changes nothing.
SETS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
#: Ends or removes something; doing it again changes nothing.
REMOVES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class Arguments(BaseModel):
    """Base of all arguments: closed against unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _lists_and_objects_in_text(cls, given: Any) -> Any:
        """Some clients send a list or an object as JSON text; take it as what it says."""
        if not isinstance(given, dict):
            return given
        return {name: _from_text(cls, name, value) for name, value in given.items()}


def _from_text(arguments: type[BaseModel], name: str, value: Any) -> Any:
    field = arguments.model_fields.get(name)
    if field is None or not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    if field.annotation is str or field.annotation == (str | None):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


#: Where a call tells how far it is: so much, of how much in all, in words.
Progress = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: for whom, and what it may use."""

    bridge: Bridge
    producer: AsyncProducer
    #: None where the client did not ask for progress.
    progress: Progress | None = None

    @property
    def owner(self) -> str:
        return self.producer.owner


@dataclass(frozen=True, slots=True)
class Started:
    """Work that a tool has begun: the id to follow it by, or its result where that is there already."""

    task_id: str
    result: Model | None = None


Given = TypeVar("Given", bound=Arguments)
Result = TypeVar("Result", bound=Model)


@dataclass(frozen=True)
class Tool:
    """One tool."""

    name: str
    title: str
    description: str
    hints: ToolAnnotations
    arguments: type[Arguments]
    result: type[Model]
    run: Callable[[Call, Any], Awaitable[Model]]
    #: Whether it changes what all share, and so may be switched off.
    changes: bool = False
    #: Begins the work without waiting for it, where the tool can run as a task.
    start: Callable[[Call, Any], Awaitable[Started]] | None = None

    def listed(self) -> ListedTool:
        """Return the tool as clients see it."""
        return ListedTool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=_schema(self.arguments),
            output_schema=_schema(self.result),
            annotations=self.hints.model_copy(update={"title": self.title}),
            execution=ToolExecution(task_support="optional") if self.start is not None else None,
        )


def tool(
    title: str,
    hints: ToolAnnotations,
    *,
    changes: bool = False,
    start: Callable[[Call, Any], Awaitable[Started]] | None = None,
) -> Callable[[Callable[[Call, Given], Awaitable[Result]]], Tool]:
    """Make a tool of a function ``(call, given) -> result``; its docstring is what a model reads."""

    def made(function: Callable[[Call, Given], Awaitable[Result]]) -> Tool:
        types = get_type_hints(function)
        return Tool(
            name=function.__name__,
            title=title,
            description=inspect.getdoc(function) or "",
            hints=hints,
            arguments=types["given"],
            result=types["return"],
            run=function,
            changes=changes,
            start=start,
        )

    return made


def success_result(value: Model) -> CallToolResult:
    """Return a tool's result as structured content, and as the same JSON in text for clients that read only that."""
    text = value.model_dump_json(exclude_none=True)
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content=json.loads(text),
        is_error=False,
    )


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    untitled: dict[str, Any] = _without_titles(schema)
    return untitled


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """Drop the titles that pydantic derives from names: they say nothing, and every client pays for them."""
    if isinstance(node, list):
        return [_without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_titles(value, names=key in ("properties", "$defs"))
        for key, value in node.items()
        if names or key != "title"
    }
