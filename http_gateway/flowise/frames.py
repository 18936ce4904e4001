"""Tell a query in Flowise's frames, as its clients expect them: pure; what is to be told comes in, frames go out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from agentic_flywheel.models import Answer, Event, EventKind
from agentic_flywheel.stops import Stop
from http_gateway.flowise.answers import (
    MADE_BY_FLOW,
    ClientChat,
    Json,
    action_of,
    made_by_flow,
    metadata_of,
    node_of,
)
from mcp_bridge.following import Story

HEARTBEAT = b":heartbeat\n\n"
#: Events after which the flow itself speaks.
_OF_FLOW = frozenset(
    {EventKind.TOKEN, EventKind.STEP, EventKind.TOOL, EventKind.SOURCE, EventKind.ARTIFACT, EventKind.USAGE}
)
#: Events that say why the flow does not speak yet, whoever asks may know.
_OF_WAITING = frozenset({EventKind.WAITING, EventKind.ATTACHED, EventKind.RETRYING})
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def frame(event: str, data: Any, **more: Any) -> bytes:
    """Return one frame, byte for byte as Flowise sends it."""
    text = _ENCODER.encode({"event": event, "data": data, **more})
    # Flowise's Python client takes every `data:` out of a line; so written, it finds one only.
    text = text.replace("data:", "data\\u003a")
    return f"message:\ndata:{text}\n\n".encode("utf-8", "replace")


END = frame("end", "[DONE]")


def refusal(said: str) -> bytes:
    """Return the frames of a request that is refused, or of a query that failed."""
    return frame("error", said) + END


class FrameTeller:
    """What the client of one stream has been told, and what it is told next."""

    def __init__(
        self, chat: ClientChat, *, discreet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``discreet``: names of flows are not told while the query waits."""
        self._chat, self._discreet, self._clock = chat, discreet, clock
        self._story = Story()
        self._began = clock()
        self._said = ""
        self._status = ""
        self._opened = self._waited = self._spoke = self._traced = False
        self._nodes: dict[str, Json] = {}

    def waits(self) -> bytes:
        """Return the frames that say what the query waits for; nothing where that was said, or the flow speaks."""
        sentence = self._story.sentence
        said = f"{sentence[:1].upper()}{sentence[1:]}."
        if self._spoke or said == self._status:
            return b""
        self._status = said
        # The widget's Stop is there only where something ran: so a query that waits can be stopped, too.
        first = b"" if self._waited else frame("agentFlowExecutedData", [_PLACEHOLDER])
        self._waited = self._traced = True
        return self._open() + first + frame("thinking", f"{said}\n")

    def told(self, event: Event) -> bytes:
        """Return the frames for an event of the query."""
        of_part = "part" in event.data
        if event.kind in _OF_WAITING or not (self._discreet or of_part):
            self._story.note(event)
        if event.voids and self._said:
            # What was said is void, and only another bubble can say so.
            self._said, self._spoke, self._opened = "", False, False
        if event.kind not in _OF_FLOW or of_part:
            return b""
        return b"".join(self._of_flow(event))

    def answered(self, answer: Answer) -> bytes:
        """Return the last frames of a query that was answered."""
        made = made_by_flow(answer, self._chat)
        frames = [self._flow_speaks(), self._rest_of(answer.text)]
        frames += [frame(name, made[name]) for name in MADE_BY_FLOW if made[name]]
        frames.append(self._nodes_of(made["agentFlowExecutedData"]))
        return b"".join([*frames, frame("metadata", metadata_of(self._chat, answer)), END])

    def asks(self, stop: Stop) -> bytes:
        """Return the last frames of a stream whose flow asks a person."""
        action = action_of(self._chat.query_id, stop)
        frames = [self._flow_speaks(), self._rest_of(stop.text), self._nodes_of(list(self._nodes.values()))]
        frames += [frame("action", action), frame("metadata", {**metadata_of(self._chat), "action": action}), END]
        return b"".join(frames)

    def failed(self, said: str) -> bytes:
        """Return the last frames of a query that ended without an answer."""
        if not self._opened:
            return refusal(said)
        return self._flow_speaks() + self._nodes_of(list(self._nodes.values())) + refusal(said)

    def _open(self) -> bytes:
        """Return the frame that makes room for the answer, once. Without it, clients drop what follows."""
        opened, self._opened = self._opened, True
        return b"" if opened else frame("start", "")

    def _flow_speaks(self) -> bytes:
        """End the waiting."""
        thought = self._waited and not self._spoke
        self._spoke = True
        if not thought:
            return self._open()
        return self._open() + frame("thinking", "", duration=math.ceil(self._clock() - self._began))

    def _of_flow(self, event: Event) -> Iterator[bytes]:
        data = event.data
        if event.kind is EventKind.TOKEN:
            text = str(data.get("text", ""))
            self._said += text
            yield self._flow_speaks() + frame("token", text)
        elif event.kind is EventKind.STEP and data.get("id"):
            node = node_of(data)
            self._nodes[str(data["id"])] = node
            self._traced = True
            told = {name: node[name] for name in ("nodeId", "nodeLabel", "status")}
            error = {"error": data["error"]} if data.get("error") else {}
            yield self._flow_speaks() + frame("nextAgentFlow", {**told, **error})
            yield frame("agentFlowExecutedData", list(self._nodes.values()))

    def _rest_of(self, text: str) -> bytes:
        """Return what is left to say of a text."""
        if text.startswith(self._said):
            rest = text[len(self._said) :]
            return frame("token", rest) if rest else b""
        if text.strip() == self._said.strip():
            return b""
        # It is another one than what was streamed, such as that of a fallback.
        self._opened = False
        return self._open() + frame("token", text)

    def _nodes_of(self, nodes: list[Json]) -> bytes:
        return frame("agentFlowExecutedData", nodes) if nodes or self._traced else b""


#: Stands for a flow that has not begun.
_PLACEHOLDER: Json = {
    "nodeId": "queue",
    "nodeLabel": "Queue",
    "data": {},
    "previousNodeIds": [],
    "status": "INPROGRESS",
}
