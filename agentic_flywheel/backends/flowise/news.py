"""What a stream tells of a flow's doings while it runs: its steps, tools, sources, artifacts and tokens used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from agentic_flywheel.backends.contents import Json, name_of, objects, text_of
from agentic_flywheel.backends.decoding import whole
from agentic_flywheel.backends.flowise.contents import Timed, artifacts_of, status_of, step_of_agent, tool_of, usage_of
from agentic_flywheel.backends.models import FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.cutting import cut, cut_value
from agentic_flywheel.doings import RUNNING
from agentic_flywheel.models import EventKind

#: News of one kind in one call. A flow in a loop has no end of them; its answer tells of as many steps as it keeps.
MAX_NEWS = 400
#: Characters of one text in news: who follows wants to know what goes on, and the answer has the whole.
MAX_NEWS_TEXT = 2_000
#: What follows the calls that a node tells of once more at its end: those before which it stops to ask a person.
_NODE_ENDS = ("usageMetadata", "nextAgentFlow")

News = tuple[EventKind, Json]


class NewsDesk:
    """Makes news of a stream's events, and notes when each step was told of."""

    def __init__(self, flow: Flow, chat_id: str | None, rejected: str | None = None) -> None:
        """``rejected``: the id of the node whose question a person has answered with no."""
        self._flow, self._chat_id, self._rejected = flow, chat_id, rejected
        #: The node that was last told to run: its name, and its id.
        self._step = self._node = ""
        self._agents = 0
        self._told: Counter[EventKind] = Counter()
        #: The calls that were told of last; and the same once more, until it is known whether they are made again.
        self._called: list[News] = []
        self._again: list[News] = []
        #: When each node ran, by its id, in the order of its runs.
        self.times: dict[str, list[Timed]] = {}

    @property
    def holds(self) -> bool:
        """Whether something is held back until the next event."""
        return bool(self._again)

    def of(self, name: str, data: Any) -> Iterator[FlowNews]:
        """Yield what an event of the stream tells; nothing where its kind has been told of too often."""
        again, self._again = self._again, []
        for kind, told in chain(() if name in _NODE_ENDS else again, self._told_by(name, whole(data))):
            self._told[kind] += 1
            if self._told[kind] < MAX_NEWS:
                yield FlowNews(kind, told)
            elif self._told[kind] == MAX_NEWS:
                yield FlowNews(kind, {"left_out": f"After {MAX_NEWS - 1} of them, no more are told."})

    def _told_by(self, name: str, data: Any) -> Iterator[News]:
        match name:
            case "nextAgentFlow" if isinstance(data, dict):
                yield EventKind.STEP, self._step_of(data)
            case "nextAgent":
                self._step = name_of(data)
                yield EventKind.STEP, {"id": "", "name": self._step, "status": RUNNING}
            case "agentReasoning":
                # Every one repeats all before it.
                agents = objects(data)
                for step in map(step_of_agent, agents[self._agents :]):
                    said = {"reasoning": cut(step.reasoning, MAX_NEWS_TEXT)} if step.reasoning else {}
                    yield EventKind.STEP, {"id": step.id, "name": step.name, "status": step.status, **said}
                self._agents = len(agents)
            case "calledTools" if self._node and self._node == self._rejected:
                # Flowise tells of the tool that is not used now; what the node calls after that is used.
                self._rejected = None
            case "calledTools":
                called: list[News] = [(EventKind.TOOL, self._tool_of(each, called=True)) for each in objects(data)]
                if called == self._called:
                    self._again = called
                else:
                    self._called = called
                    yield from called
            case "usedTools":
                for each in objects(data):
                    yield EventKind.TOOL, self._tool_of(each, called=False)
            case "sourceDocuments":
                for each in objects(data):
                    shown = {name_of(key): cut_value(value, MAX_NEWS_TEXT) for key, value in each.items()}
                    yield EventKind.SOURCE, {"source": shown}
            case "artifacts" | "fileAnnotations":
                given = (objects(data), ()) if name == "artifacts" else ((), objects(data))
                for artifact in artifacts_of(*given, flow_id=self._flow.id, chat_id=self._chat_id):
                    shown = artifact.model_dump(mode="json", exclude_defaults=True)
                    yield EventKind.ARTIFACT, {key: cut_value(value, MAX_NEWS_TEXT) for key, value in shown.items()}
            case "usageMetadata" if (usage := usage_of([data], model=None)) is not None:
                yield EventKind.USAGE, {**usage.model_dump(exclude_none=True), "step": self._step}

    def _step_of(self, data: Json) -> Json:
        node, status = name_of(data.get("nodeId")), status_of(data.get("status"))
        label = name_of(data.get("nodeLabel")) or node
        runs, now = self.times.setdefault(node, []), datetime.now(UTC)
        if status == RUNNING:
            self._step, self._node = label, node
            runs.append(Timed(started=now))
        elif runs and (began := runs[-1].started) is not None:
            runs[-1] = Timed(began, now - began)
        error = {"error": cut(text_of(data["error"]), MAX_NEWS_TEXT)} if data.get("error") else {}
        return {"id": node, "name": label, "status": status, **error}

    def _tool_of(self, told: Json, *, called: bool) -> Json:
        use = tool_of(told)
        found: Json = {"name": use.name, "step": self._step, "input": cut_value(use.input, MAX_NEWS_TEXT)}
        if called:
            return {**found, "status": RUNNING}
        if use.error is not None:
            return {**found, "status": "error", "error": cut(use.error, MAX_NEWS_TEXT)}
        return {**found, "status": "finished", "output": cut_value(use.output, MAX_NEWS_TEXT)}
