"""Play a flow's run as Flowise tells it: the events of a stream, the pauses between them, and the result.

A script is a generator of steps; the server sends, waits or breaks off. A plain call plays the same script and throws
its events away, so both dialects always agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workers.sandbox.answers import Reply, tokens
from workers.sandbox.behaviour import Behaviour, Fault
from workers.sandbox.flows import SandboxFlow, Style

Json = dict[str, Any]

BUILD = "Error: predictionsServices.buildChatflow - "
OWN_CODE = "Error: NodeVM Execution Error: Error: boom"
CANCELLED = "Flow execution was cancelled"
ABORTED = "This operation was aborted"
KEY_ADVICE = "401 Unauthorized – check your API key and ensure it has access to the requested model."
_DOCS = "https://docs.langchain.com/oss/javascript/langchain/errors/"
KEY_REFUSED = f"401 Incorrect API key provided: sk-fake\n\nTroubleshooting URL: {_DOCS}MODEL_AUTHENTICATION/\n"

#: What the provider says behind a model.
PROVIDER_WORDS = {
    Fault.PROVIDER_KEY: KEY_REFUSED,
    Fault.PROVIDER_LIMIT: f"429 Rate limit reached for sandbox\n\nTroubleshooting URL: {_DOCS}MODEL_RATE_LIMIT/\n",
    Fault.PROVIDER_DOWN: "500 The server had an error",
    Fault.PROVIDER_CUT: "terminated",
}


class Event(NamedTuple):
    """Tell the client something."""

    name: str
    data: Any


class Pause(NamedTuple):
    """Wait. ``interruptible``: an abort ends it at once."""

    seconds: float
    interruptible: bool = False


class Drop(NamedTuple):
    """Break the connection."""


Step = Event | Pause | Drop


@dataclass
class Run:
    """One call under way, and what came of it."""

    flow: SandboxFlow
    behaviour: Behaviour
    fault: Fault | None
    body: Json
    chat_id: str
    session_id: str
    message_id: str
    execution_id: str
    reply: Reply
    #: What a stopped run had done, where this call resumes it.
    resumed: list[Json] | None = None
    nodes: list[Json] = field(default_factory=list)
    action: Json | None = None
    #: Flowise's words for what went wrong, as a plain call would get them.
    failure: str | None = None
    state: str = "INPROGRESS"
    aborted: bool = False

    @property
    def question(self) -> Any:
        """Flowise does not care whether there is one."""
        return self.body.get("question", "undefined")

    @property
    def asked(self) -> Json:
        return {key: self.body[key] for key in ("question", "form") if key in self.body}

    def plain(self) -> Json:
        """Return the answer of a plain call."""
        style = self.flow.style
        ids = {"chatId": self.chat_id, "chatMessageId": self.message_id}
        if not style.agentic:
            said: Json = {"text": self.reply.text}
            if style is Style.OBJECT:
                said = {"answer": self.reply.text, "length": len(self.reply.text)}
            if style is Style.DOCUMENTS:
                said["sourceDocuments"] = list(self.reply.sources)
            memory = {"memoryType": "Buffer Memory"} if style is Style.CHAT else {}
            return {**said, **self.asked, **ids, "isStreamValid": False, "sessionId": self.session_id, **memory}
        ran = {"executionId": self.execution_id, "agentFlowExecutedData": self.nodes}
        stopped = {"action": self.action} if self.action else {}
        return {"text": self.reply.text, **self.asked, **ids, **ran, **stopped, "sessionId": self.session_id}

    def metadata(self) -> Json:
        """Return the last but one event of a stream."""
        told = {"question": self.body["question"]} if "question" in self.body else {}
        memory = {"memoryType": "Buffer Memory"} if self.flow.style is Style.CHAT else {}
        stopped = {"action": self.action} if self.action else {}
        ids = {"chatId": self.chat_id, "chatMessageId": self.message_id}
        return {**ids, **told, "sessionId": self.session_id, **memory, **stopped}


END = Event("end", "[DONE]")


def refusal(run: Run, failure: str) -> Iterator[Step]:
    """A run that never begins."""
    run.failure, run.state = failure, "ERROR"
    yield Event("error", failure)
    yield END


def speak(run: Run, pieces: list[str]) -> Iterator[Step]:
    """Say the pieces at the flow's pace, as far as the fault lets it."""
    breaks = run.fault in (Fault.DROP, Fault.PROVIDER_CUT)
    for position, piece in enumerate(pieces):
        if run.behaviour.token_delay:
            yield Pause(run.behaviour.token_delay, interruptible=True)
        if run.aborted and run.flow.style.agentic:
            return
        if breaks and position >= len(pieces) // 2:
            break
        yield Event("token", piece)
    if run.fault is Fault.DROP:
        yield Drop()


def chatflow(run: Run) -> Iterator[Step]:
    """The dialect of a chatflow. An abort does not stop one."""
    style, pieces = run.flow.style, tokens(run.reply.text)
    if run.fault in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN, Fault.ERROR):
        yield Pause(run.behaviour.latency)
        words = OWN_CODE if run.fault is Fault.ERROR else PROVIDER_WORDS[run.fault]
        yield from refusal(run, KEY_ADVICE if run.fault is Fault.PROVIDER_KEY else BUILD + words)
        return
    if style is Style.CHAT:
        yield Event("start", "")
    yield Pause(run.behaviour.latency)
    if style is Style.DOCUMENTS:
        # A retrieval chain starts with its first token, and says it twice.
        yield Event("start", pieces[0] if pieces else "")
    yield from speak(run, pieces)
    if run.fault is Fault.PROVIDER_CUT:
        yield from refusal(run, BUILD + PROVIDER_WORDS[run.fault])
        return
    if style is Style.DOCUMENTS:
        yield Event("sourceDocuments", list(run.reply.sources))
    run.state = "FINISHED"
    yield Event("metadata", run.metadata())
    yield END
