"""The tools that agents of the sandbox use, and what comes of them."""

from __future__ import annotations

from typing import Any

from flowise_sandbox.answers import FlowReply
from flowise_sandbox.behaviour import Fault
from flowise_sandbox.flows import Style

Json = dict[str, Any]

OUT_OF_STOCK = "NodeVM Execution Error: Error: out of stock"
#: The file of the artifact that Flowise keeps.
PLOT = "plot.png"
#: Two artifacts: one that Flowise keeps as a file, one whose text is in the answer.
_ARTIFACTS: list[Json] = [{"type": "html", "data": "<b>plot</b>"}, {"type": "png", "data": f"FILE-STORAGE::{PLOT}"}]
_NAMES = {
    Style.AGENT: "calculator",
    Style.CAREFUL: "calculator",
    Style.FINDER: "find",
    Style.MAKER: "plot",
    Style.TOOLS: "plot",
    Style.CREW: "plot",
}
_OUTPUTS = {"calculator": "42", "find": "found 6*7", "plot": "plotted 6*7"}


class ToolRun:
    """One use of the tool of a flow's agent."""

    def __init__(self, style: Style, reply: FlowReply, fault: Fault | None) -> None:
        self.name, self.failed = _NAMES[style], fault is Fault.TOOL
        self.artifacts: list[Json] = _ARTIFACTS if self.name == "plot" and not self.failed else []
        self.sources: list[Json] = list(reply.sources) if self.name == "find" and not self.failed else []
        self.called: Json = {"tool": self.name, "toolInput": {"input": "6*7"}, "toolOutput": ""}
        #: What the model asks for, in its own words.
        self.wanted: Json = {"name": self.name, "args": {"input": "6*7"}, "id": "call_1", "type": "tool_call"}
        self.used: Json = {**self.called, "toolOutput": _OUTPUTS[self.name]}
        if self.failed:
            self.used = {**self.called, "error": OUT_OF_STOCK}

    @property
    def fields(self) -> Json:
        """What an answer, or the output of an agent's node, tells of it: empty lists are left out."""
        found = {"usedTools": [self.used], "sourceDocuments": self.sources, "artifacts": self.artifacts}
        return {name: told for name, told in found.items() if told}

    @property
    def remembered(self) -> Json:
        """What the history of an agent's node tells of it; artifacts stand in a list of lists there."""
        return {"usedTools": [self.used], **({"artifacts": [self.artifacts]} if self.artifacts else {})}

    def reasoning(self, text: str) -> Json:
        """Return what a chatflow of agents tells of the agent that used it and said this text."""
        return {
            "agentName": "Clerk",
            "messages": [text],
            "usedTools": [self.used],
            "sourceDocuments": self.sources or [None],
            "artifacts": self.artifacts,
            "state": {},
            "nodeName": "seqAgent",
            "nodeId": "seqAgent_0",
        }
