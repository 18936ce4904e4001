"""Play a flow's run: the events of its stream, the pauses between them, and its result.

A script is a generator of steps. For each step the server sends an event, waits, or breaks the connection. A plain call
plays the same script without sending the events, so that plain and streamed answers agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowise_sandbox.answers import FlowReply, follow_ups, tokens
from flowise_sandbox.behaviour import Behaviour, Fault
from flowise_sandbox.flows import SandboxFlow, Style
from flowise_sandbox.tools import ToolRun

Json = dict[str, Any]

BUILD = "Error: predictionsServices.buildChatflow - "
OWN_CODE = "Error: NodeVM Execution Error: Error: boom"
CANCELLED = "Flow execution was cancelled"
ABORTED = "This operation was aborted"
KEY_ADVICE = "401 Unauthorized – check your API key and ensure it has access to the requested model."
_DOCS = "https://docs.langchain.com/oss/javascript/langchain/errors/"
KEY_REFUSED = f"401 Incorrect API key provided: sk-fake\n\nTroubleshooting URL: {_DOCS}MODEL_AUTHENTICATION/\n"

#: Error texts of the provider behind a model.
PROVIDER_WORDS = {
    Fault.PROVIDER_KEY: KEY_REFUSED,
    Fault.PROVIDER_LIMIT: f"429 Rate limit reached for sandbox\n\nTroubleshooting URL: {_DOCS}MODEL_RATE_LIMIT/\n",
    Fault.PROVIDER_DOWN: "500 The server had an error",
    Fault.PROVIDER_CUT: "terminated",
}


class SentEvent(NamedTuple):
    """Send an event to the client."""

    name: str
    data: Any


class Pause(NamedTuple):
    """Wait for ``seconds``. ``interruptible``: an abort ends the wait at once."""

    seconds: float
    interruptible: bool = False


class Drop(NamedTuple):
    """Break the connection."""


ScriptStep = SentEvent | Pause | Drop


@dataclass
class FlowRun:
    """One call of a flow, under way or ended, with its result."""

    flow: SandboxFlow
    behaviour: Behaviour
    fault: Fault | None
    body: Json
    chat_id: str
    session_id: str
    message_id: str
    execution_id: str
    reply: FlowReply
    #: The nodes of the stopped run that this call resumes; None: it resumes none.
    resumed: list[Json] | None = None
    #: How often the flow has stopped before.
    stops: int = 0
    nodes: list[Json] = field(default_factory=list)
    action: Json | None = None
    #: Flowise's error text, as a plain call gets it; None: no error.
    failure: str | None = None
    state: str = "INPROGRESS"
    aborted: bool = False

    @property
    def question(self) -> Any:
        """The question. Flowise accepts a call without one."""
        return self.body.get("question", "undefined")

    @property
    def proceeds(self) -> bool:
        """Whether a person has decided that it goes on."""
        decided = self.body.get("humanInput")
        return isinstance(decided, dict) and decided.get("type") == "proceed"

    @property
    def asked(self) -> Json:
        return {key: self.body[key] for key in ("question", "form") if key in self.body}

    def plain(self) -> Json:
        """Return the answer of a plain call."""
        style = self.flow.style
        # Flowise writes these as JSON in JSON.
        asked_next = {"followUpPrompts": json.dumps(json.dumps(self.next_questions))} if self.next_questions else {}
        ids = {"chatId": self.chat_id, "chatMessageId": self.message_id}
        if not style.agentic:
            said: Json = {"text": self.reply.text}
            if style is Style.OBJECT:
                said = {"answer": self.reply.text, "length": len(self.reply.text)}
            if style is Style.DOCUMENTS:
                said["sourceDocuments"] = list(self.reply.sources)
            if style is Style.CREW:
                return {**said, **self.asked, **ids, "sessionId": self.session_id, **self.doings, **asked_next}
            told = {"isStreamValid": False, "sessionId": self.session_id, **self.memory, **asked_next}
            return {**said, **self.doings, **self.asked, **ids, **told}
        ran = {"executionId": self.execution_id, "agentFlowExecutedData": self.nodes}
        stopped = {"action": self.action} if self.action else {}
        told = {"sessionId": self.session_id, **asked_next}
        return {"text": self.reply.text, **self.asked, **ids, **ran, **stopped, **told}

    @property
    def tool(self) -> ToolRun:
        """The use of its agent's tool."""
        return ToolRun(self.flow.style, self.reply, self.fault)

    @property
    def doings(self) -> Json:
        """What a chatflow's answer tells of its agents and their tools."""
        if self.flow.style is Style.CREW:
            return {"agentReasoning": [self.tool.reasoning(self.reply.text)]}
        return self.tool.fields if self.flow.style is Style.TOOLS else {}

    @property
    def memory(self) -> Json:
        return {"memoryType": "Buffer Memory"} if self.flow.style in (Style.CHAT, Style.TOOLS) else {}

    @property
    def next_questions(self) -> list[str]:
        """The questions that it proposes to ask next, where the flow's owner has enabled that."""
        return follow_ups(str(self.question)) if self.behaviour.follow_ups else []

    def metadata(self) -> Json:
        """Return the data of the last event but one of a stream."""
        told = {"question": self.body["question"]} if "question" in self.body else {}
        asked_next = {"followUpPrompts": json.dumps(self.next_questions)} if self.next_questions else {}
        stopped = {"action": self.action} if self.action else {}
        ids = {"chatId": self.chat_id, "chatMessageId": self.message_id}
        return {**ids, **told, "sessionId": self.session_id, **self.memory, **asked_next, **stopped}


END = SentEvent("end", "[DONE]")


def refusal(run: FlowRun, failure: str) -> Iterator[ScriptStep]:
    """Yield the steps of a run that fails before it begins."""
    run.failure, run.state = failure, "ERROR"
    yield SentEvent("error", failure)
    yield END


def speak(run: FlowRun, pieces: list[str]) -> Iterator[ScriptStep]:
    """Yield the pieces of an answer at the flow's pace, up to the point at which the run's fault breaks it off."""
    breaks = run.fault in (Fault.DROP, Fault.PROVIDER_CUT)
    for position, piece in enumerate(pieces):
        if run.behaviour.token_delay:
            yield Pause(run.behaviour.token_delay, interruptible=True)
        if run.aborted and run.flow.style.agentic:
            return
        if breaks and position >= len(pieces) // 2:
            break
        yield SentEvent("token", piece)
    if run.fault is Fault.DROP:
        yield Drop()


def chatflow(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of a chatflow's run. An abort does not stop it."""
    style, pieces = run.flow.style, tokens(run.reply.text)
    if run.fault in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN, Fault.ERROR):
        yield Pause(run.behaviour.latency)
        words = OWN_CODE if run.fault is Fault.ERROR else PROVIDER_WORDS[run.fault]
        yield from refusal(run, KEY_ADVICE if run.fault is Fault.PROVIDER_KEY else BUILD + words)
        return
    if style in (Style.CHAT, Style.TOOLS):
        yield SentEvent("start", "")
    yield Pause(run.behaviour.latency)
    if style is Style.CREW:
        agents = run.doings["agentReasoning"]
        yield SentEvent("start", agents)
        yield SentEvent("agentReasoning", agents)
        pieces = [run.reply.text]
    if style is Style.DOCUMENTS:
        # The start event of a retrieval chain contains the first token, which is then sent again.
        yield SentEvent("start", pieces[0] if pieces else "")
    yield from speak(run, pieces)
    if run.fault is Fault.PROVIDER_CUT:
        yield from refusal(run, BUILD + PROVIDER_WORDS[run.fault])
        return
    if style is Style.DOCUMENTS:
        yield SentEvent("sourceDocuments", list(run.reply.sources))
    if style is Style.CREW:
        yield SentEvent("usedTools", [run.tool.used])
        yield SentEvent("sourceDocuments", run.tool.sources)
        yield SentEvent("artifacts", run.tool.artifacts)
    for name, told in (run.doings if style is Style.TOOLS else {}).items():
        yield SentEvent(name, told)
    run.state = "FINISHED"
    yield SentEvent("metadata", run.metadata())
    yield END
