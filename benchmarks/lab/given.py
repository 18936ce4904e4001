"""What a call of a flow gave, read from Flowise's own JSON and from that of ``flywheel ask --json``, to be compared.

Flowise's JSON is read here anew, not by the code that workers read it with: else both would have the same faults.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from typing import Any

Json = dict[str, Any]

#: What Flowise adds to the object of a custom function.
_ADDED = re.compile(r"question|form|chatId|chatMessageId|sessionId|executionId|isStreamValid|memoryType|\w+Data")
#: The id of a call of a tool, in what an agent asks before it.
_CALL_ID = re.compile(r'"id": "[^"]*"')
#: What stands before a failure's own words, and behind them.
_AROUND = re.compile(r"^Error: \w+\.\w+ - (Error in [\w ]+ node: )?|\s*Troubleshooting URL:.*", re.DOTALL)


@dataclass(frozen=True)
class Given:
    """What a flow gave. ``chat``, ``node`` and ``query`` only say where to go on, and are not compared."""

    text: str = ""
    data: Any = None
    tools: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    #: What it asked a person.
    stop: str | None = None
    error: str = ""
    #: The class of the error, where ours has told it.
    kind: str = ""
    chat: str = ""
    node: str = ""
    query: str = ""

    def then(self, after: Given) -> Given:
        """Return what it gave after the decision, and what it had asked before."""
        return replace(after, stop=self.stop)

    def differences(self, queued: Given) -> list[str]:
        """Name what this raw call gave and the queue did not, or otherwise. A failure's words may stand within ours."""
        compared = {each.name for each in fields(self)} - {"chat", "node", "query", "kind", "error"}
        differ = [name for name in sorted(compared) if getattr(self, name) != getattr(queued, name)]
        same = bool(self.error) == bool(queued.error) and self.error in queued.error
        return differ if same else [*differ, "error"]

    def told(self) -> str:
        """Return it in one line."""
        if self.error:
            return f"fails{f' as {self.kind}' if self.kind else ''}: {self.error}"
        told = [f"asks “{self.stop}”, then"] if self.stop else []
        told += [f"“{self.text}”"] if self.text else []
        told += [json.dumps(self.data)] if self.data is not None else []
        for name in ("tools", "sources", "artifacts", "follow_ups", "steps"):
            if count := len(getattr(self, name)):
                told.append(f"{count} {name.replace('_', '-')[: None if count > 1 else -1]}")
        return ", ".join(told).replace("then, ", "then ")


def given_raw(status: int, body: str) -> Given:
    """Return what a plain call gave."""
    try:
        found = json.loads(body)
    except ValueError:
        found = {"message": body}
    if status != 200:
        return Given(error=_AROUND.sub("", str(found.get("message", found))).strip())
    nodes = found.get("agentFlowExecutedData") or []
    outputs = [each["data"].get("output") or {} for each in nodes]

    def told(name: str) -> list[Json]:
        return found.get(name) or [each for output in outputs for each in output.get(name) or []]

    action, follow_ups, chat = found.get("action"), found.get("followUpPrompts"), found["chatId"]
    text = found.get("text")
    return Given(
        text=_same_ids(text or "", chat).strip(),
        data=None if isinstance(text, str) else {key: found[key] for key in found if not _ADDED.fullmatch(key)},
        tools=tuple((each["tool"], _value(each["toolOutput"])) for each in told("usedTools")),
        sources=tuple(each["pageContent"] for each in told("sourceDocuments")),
        artifacts=tuple(each["type"] for each in told("artifacts")),
        follow_ups=tuple(json.loads(follow_ups)["questions"]) if follow_ups else (),
        steps=tuple(each["nodeId"] for each in nodes),
        stop=_asked(found["text"]) if action else None,
        chat=chat,
        node=nodes[-1]["nodeId"] if nodes else "",
    )


def given_by_queue(found: Json) -> Given:
    """Return what a command of ours gave."""
    if found.get("error_type") == "InputRequired":
        about = found["details"]
        return Given(stop=_asked(about["asked"]), query=about["query_id"])
    if "error_type" in found:
        return Given(error=" ".join(found["error"].split()), kind=found["error_type"])
    text, data = found["text"], found["data"]
    return Given(
        # An object is told as a text too, for who reads nothing else.
        text="" if data is not None and json.loads(text) == data else _same_ids(text, found["chat_id"] or "").strip(),
        data=data,
        tools=tuple((each["name"], _value(each["output"])) for each in found["tools"]),
        sources=tuple(each["pageContent"] for each in found["sources"]),
        artifacts=tuple(each["type"] for each in found["artifacts"]),
        follow_ups=tuple(found["follow_ups"]),
        steps=tuple(each["id"] for each in found["steps"]),
        query=found["query_id"],
    )


def _same_ids(text: str, chat: str) -> str:
    """Return a text with the chat's id, which is another in each call, made the same."""
    return text.replace(chat, "…") if chat else text


def _asked(text: str) -> str:
    """Return what a person is asked; the id of a model's call, which is another each time, is made the same."""
    return _CALL_ID.sub('"id": "…"', text).strip()


def _value(told: Any) -> str:
    return told if isinstance(told, str) else json.dumps(told, sort_keys=True)
