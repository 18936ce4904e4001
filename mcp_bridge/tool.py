"""What a tool is: a function with typed arguments and a typed result, described well enough to be used right."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, get_args, get_type_hints

from mcp_types import Tool as ListedTool
from mcp_types import ToolAnnotations, ToolExecution

from agentic_flywheel.access.grant import LOCAL_GRANT, Grant, Scope
from agentic_flywheel.asker import Asker
from agentic_flywheel.models import Model
from mcp_bridge.arguments import Arguments
from mcp_bridge.bridge import Bridge
from mcp_bridge.schema import input_schema, output_schema
from producer import AsyncProducer

#: Looks only.
READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
#: Looks only, and asks Flowise or Langfuse for it.
READS_OUTSIDE = READS.model_copy(update={"open_world_hint": True})
#: Asks a flow, which may do anything; asking twice is asking twice.
ASKS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
#: Lets a flow go on, which may do anything; the same decision twice is one.
DECIDES = ASKS.model_copy(update={"destructive_hint": True, "idempotent_hint": True})
#: Adds something to what is there.
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
#: Replaces a setting; setting it again changes nothing.
SETS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
#: Ends or removes something; doing it again changes nothing.
REMOVES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

#: Where a call tells how far it is: so much, of how much in all, in words.
Progress = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: for whom, and what it may use."""

    bridge: Bridge
    producer: AsyncProducer
    #: None where the client did not ask for progress.
    progress: Progress | None = None
    grant: Grant = LOCAL_GRANT
    #: By the monotonic clock.
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since its begin: what is reported as its progress, which has to increase with every report."""
        return round(time.monotonic() - self.began, 3)

    @property
    def asker(self) -> Asker:
        return self.producer.asker


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
    #: What a token needs to call it.
    scope: Scope
    arguments: type[Arguments]
    #: The kinds of result that it has.
    results: tuple[type[Model], ...]
    run: Callable[[Call, Any], Awaitable[Model]]
    #: Whether it changes what all share, and so has to be allowed.
    changes: bool = False
    #: Begins the work without waiting for it, where the tool can run as a task.
    start: Callable[[Call, Any], Awaitable[Started]] | None = None

    @cached_property
    def listed(self) -> ListedTool:
        """The tool as clients see it."""
        return ListedTool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=input_schema(self.arguments),
            output_schema=output_schema(*self.results),
            annotations=self.hints,
            execution=ToolExecution(task_support="optional") if self.start is not None else None,
        )


def tool(
    title: str,
    hints: ToolAnnotations,
    scope: Scope,
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
            # Line breaks are the source's, not the text's.
            description=" ".join((inspect.getdoc(function) or "").split()),
            hints=hints,
            scope=scope,
            arguments=types["given"],
            results=get_args(types["return"]) or (types["return"],),
            run=function,
            changes=changes,
            start=start,
        )

    return made
