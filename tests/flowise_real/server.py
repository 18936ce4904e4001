"""Flows on a real Flowise: made for a test over its management API, with what they use, and deleted afterwards."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2

#: Kinds of inputs that are a value; others are connections.
_VALUES = frozenset({
    "array", "asyncMultiOptions", "asyncOptions", "boolean", "code", "conditionFunction", "datagrid", "date", "file",
    "folder", "json", "multiOptions", "number", "options", "password", "string", "tabs",
})  # fmt: skip

Json = dict[str, Any]


@dataclass
class RealFlowise:
    """A Flowise server, and what tests have made on it. ``key``: one that may make and delete flows, tools and keys."""

    url: str
    key: str
    #: Paths of what is deleted at the end.
    made: list[str] = field(default_factory=list)
    _nodes: dict[str, Json] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return what the API answers. A refusal fails the test with Flowise's words."""
        headers = {"Authorization": f"Bearer {self.key}"}
        told = httpx2.request(method, f"{self.url}/api/v1/{path}", json=body, params=query, headers=headers, timeout=60)
        assert told.status_code < 300, f"{method} {path}: {told.status_code} {told.text[:500]}"
        return told.json()

    def make(self, kind: str, about: Json) -> str:
        """Make a flow, a tool, a credential, which is deleted at the end. Returns its id."""
        made: str = self.call("POST", kind, about)["id"]
        self.made.append(f"{kind}/{made}")
        return made

    def node(self, name: str, **inputs: Any) -> Json:
        """Return a node of an AgentFlow with these inputs, as Flowise's editor would put it there."""
        if not self._nodes:
            self._nodes = {each["name"]: each for each in self.call("GET", "nodes")}
        kind = copy.deepcopy(self._nodes[name])
        node_id = f"{name}_{uuid.uuid4().hex[:8]}"
        params = [each for each in kind.get("inputs", []) if each["type"] in _VALUES]
        data = {
            **{key: kind.get(key) for key in ("name", "version", "type", "baseClasses", "category", "label", "color")},
            "id": node_id,
            "inputParams": [{**each, "id": f"{node_id}-input-{each['name']}-{each['type']}"} for each in params],
            "inputAnchors": [],
            "inputs": {each["name"]: each.get("default", "") for each in params} | inputs,
            # A node that decides has an output for each way.
            "outputAnchors": [
                {"id": f"{node_id}-output-{way}", "label": kind["label"], "name": name}
                for way in (range(len(kind["outputs"])) if kind.get("outputs") else [name])
            ],
            "outputs": {},
        }
        place = {"x": 0, "y": 0}
        return {"id": node_id, "type": "agentFlow", "position": place, "positionAbsolute": place, "data": data}

    def flow(self, *nodes: Json, ways: Sequence[Json] = (), settings: Json | None = None) -> str:
        """Make an AgentFlow of nodes, one behind the other. Returns its id.

        ``ways``: where the last of them leads, a node for each of its outputs. ``settings``: the flow's ``apiConfig``.
        """
        links = [(one, 0, next_) for one, next_ in pairwise(nodes)]
        links += [(nodes[-1], output, next_) for output, next_ in enumerate(ways)]
        edges = [
            {
                "id": f"{one['id']}-{next_['id']}",
                "source": one["id"],
                "sourceHandle": one["data"]["outputAnchors"][output]["id"],
                "target": next_["id"],
                "targetHandle": next_["id"],
                "type": "agentFlow",
                "data": {"isHumanInput": one["data"]["name"] == "humanInputAgentflow"},
            }
            for one, output, next_ in links
        ]
        drawn = {"nodes": [*nodes, *ways], "edges": edges, "viewport": {"x": 0, "y": 0, "zoom": 1}}
        about = {"name": f"flywheel-test-{uuid.uuid4().hex[:8]}", "type": "AGENTFLOW", "deployed": False}
        made = self.make("chatflows", {**about, "isPublic": False, "flowData": json.dumps(drawn)})
        if settings is not None:  # only a change of a flow sets its limit in force
            self.call("PUT", f"chatflows/{made}", {"apiConfig": json.dumps(settings)})
        return made

    def scripted(self, code: str, *, settings: Json | None = None, **start: Any) -> str:
        """Make an AgentFlow that answers with what JavaScript returns; ``start``: inputs of its first node."""
        script = self.node("customFunctionAgentflow", customFunctionJavascriptFunction=code)
        reply = self.node("directReplyAgentflow", directReplyMessage="{{ " + script["id"] + " }}")
        first = self.node("startAgentflow", **{"startInputType": "chatInput", **start})
        return self.flow(first, script, reply, settings=settings)

    def modelled(self, kind: str, model: str, credential: str, **inputs: Any) -> str:
        """Make an AgentFlow of one node with a model: ``kind`` is ``llm`` or ``agent``, ``model`` an address."""
        told = {"credential": credential, "FLOWISE_CREDENTIAL_ID": credential, "modelName": "stand-in"}
        config = {**told, "basepath": model, "streaming": True, "allowImageUploads": True, f"{kind}Model": "chatOpenAI"}
        about = {f"{kind}Model": "chatOpenAI", f"{kind}ModelConfig": config, f"{kind}ReturnResponseAs": "userMessage"}
        first = self.node("startAgentflow", startInputType="chatInput")
        return self.flow(first, self.node(f"{kind}Agentflow", **about, **inputs))

    def messages(self, flow_id: str) -> list[Json]:
        """Return the messages of all chats of a flow."""
        found: list[Json] = self.call("GET", f"chatmessage/{flow_id}")
        return found

    def clear(self) -> None:
        """Delete what was made here, flows with their chats, before what they use."""
        for path in reversed(self.made):
            kind, _, made = path.partition("/")
            if kind == "chatflows":
                self.call("DELETE", f"chatmessage/{made}")
            self.call("DELETE", path)
