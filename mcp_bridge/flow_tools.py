"""A tool for every flow, made from the registry: for hosts whose model should choose the flow by itself."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import Field

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.forms import described
from mcp_bridge.arguments import USUAL_WAIT, Arguments, ObjectText, Question, SessionId, Wait
from mcp_bridge.asking import Ask, submit, wait_for
from mcp_bridge.files import BriefFiles
from mcp_bridge.tool import ASKS, Call, Tool
from mcp_bridge.views import QueryView, shortened

NAME_START = "ask_"
#: Longest name that every host takes, in characters.
_LONGEST = 64
#: Flows beyond these get no tool of their own.
MOST = 100


class FlowQuestion(Arguments):
    """A question for the flow of the tool."""

    question: Question
    uploads: BriefFiles | None = None
    session_id: SessionId | None = None
    wait_s: Wait = USUAL_WAIT


class FlowForm(Arguments):
    """The form of the tool's flow, filled in."""

    form: Annotated[ObjectText, Field(description="The form's fields, as a JSON object.")]
    uploads: BriefFiles | None = None
    session_id: SessionId | None = None
    wait_s: Wait = USUAL_WAIT


def flow_tools(catalog: Catalog) -> dict[str, Tool]:
    """Return a tool for each active flow, by name."""
    tools: dict[str, Tool] = {}
    for flow in list(catalog.active.values())[:MOST]:
        name = _name(flow.key, tools)
        tools[name] = _tool(name, flow)
    return tools


def _name(key: str, taken: dict[str, Tool]) -> str:
    """Return a name of letters, digits, - and _ alone; numbered where another flow has it."""
    plain = NAME_START + re.sub(r"[^A-Za-z0-9_-]", "_", key)
    names = (plain[: _LONGEST - len(end)] + end for end in ("", *(f"_{number}" for number in range(2, MOST + 2))))
    return next(name for name in names if name not in taken)


def _tool(name: str, flow: Flow) -> Tool:
    about = shortened(" ".join((flow.description or flow.purpose or f"The flow {flow.title}.").split()), 400)
    form = f" Its form: {shortened(described(flow.form), 400)}." if flow.form else ""
    return Tool(
        name=name,
        title=flow.title,
        description=f"Ask the Flowise flow {flow.title}. {about}{form} If `done` is false: flowise_poll.",
        hints=ASKS,
        scope=Scope.ASK,
        arguments=FlowForm if flow.form else FlowQuestion,
        results=(QueryView,),
        run=_asker(flow.key),
    )


def _asker(key: str) -> Callable[[Call, FlowQuestion | FlowForm], Awaitable[QueryView]]:
    async def run(call: Call, given: FlowQuestion | FlowForm) -> QueryView:
        said = {"form": given.form} if isinstance(given, FlowForm) else {"question": given.question}
        more = {"uploads": given.uploads, "session_id": given.session_id, "flow_override": key}
        ask = Ask.model_validate({**said, **more})
        return await wait_for(call, await submit(call, ask), given.wait_s)

    return run
