"""Store messages, stopped runs and feedback in memory, as Flowise's database does. Bounded: the oldest is dropped."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

MAX_MESSAGES = 20_000
MAX_FEEDBACK = 5_000
MAX_EXECUTIONS = 5_000

Json = dict[str, Any]
#: A flow's id, the kind of conversation (chat or session), and its id.
Place = tuple[str, str, str]


class Chats:
    """The messages by chat and by session, the states of stopped runs, and the feedback."""

    def __init__(self) -> None:
        self._messages: dict[str, Json] = {}
        self._places: dict[Place, dict[str, Json]] = {}
        self._executions: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self._feedback: OrderedDict[str, Json] = OrderedDict()

    # Messages

    def add(self, message: Json) -> None:
        self._messages[message["id"]] = message
        for place in _places(message):
            self._places.setdefault(place, {})[message["id"]] = message
        while len(self._messages) > MAX_MESSAGES:
            self._remove(next(iter(self._messages.values())))

    def find(self, flow: str, *, chat_id: str | None = None, session_id: str | None = None) -> list[Json]:
        """Return the messages of a chat, of a session, or of the whole flow, the oldest first."""
        if chat_id is not None:
            found = self._places.get((flow, "chat", chat_id), {}).values()
            return [each for each in found if session_id is None or each["sessionId"] == session_id]
        if session_id is not None:
            return list(self._places.get((flow, "session", session_id), {}).values())
        return [each for each in self._messages.values() if each["chatflowid"] == flow]

    def delete(self, flow: str, *, chat_id: str | None = None, session_id: str | None = None) -> int:
        doomed = self.find(flow, chat_id=chat_id, session_id=session_id)
        for message in doomed:
            self._remove(message)
        if session_id is not None:
            self._executions.pop((flow, session_id), None)
        return len(doomed)

    def last_question(self, flow: str, session_id: str) -> str | None:
        """Return a session's last question."""
        found = self._places.get((flow, "session", session_id), {})
        asked = (each["content"] for each in reversed(found.values()) if each["role"] == "userMessage")
        return next((each for each in asked if isinstance(each, str)), None)

    def _remove(self, message: Json) -> None:
        del self._messages[message["id"]]
        for place in _places(message):
            there = self._places[place]
            del there[message["id"]]
            if not there:
                del self._places[place]

    # Runs that can be resumed

    def remember_run(self, flow: str, session_id: str, execution: Json) -> None:
        self._executions[flow, session_id] = execution
        while len(self._executions) > MAX_EXECUTIONS:
            self._executions.popitem(last=False)

    def update_run(self, execution_id: str, state: str) -> Json | None:
        """Set the state of a run that can be resumed. Returns it as the API has it; None where there is none."""
        known = next((each for each in self._executions.values() if each["id"] == execution_id), None)
        if known is None:
            return None
        known["state"] = state
        for message in self._messages.values():
            if message["executionId"] == execution_id:
                message["execution"] = {**message["execution"], "state": state}
        return {"id": execution_id, "state": state}

    def last_run(self, flow: str, session_id: str) -> Json | None:
        return self._executions.get((flow, session_id))

    # Feedback

    def add_feedback(self, given: Json) -> Json:
        feedback_id = str(uuid.uuid4())
        feedback = {
            "chatflowid": given.get("chatflowid"),
            "chatId": given.get("chatId"),
            "messageId": given.get("messageId"),
            "rating": given.get("rating"),
            "content": given.get("content"),
            "id": feedback_id,
            "createdDate": now_text(),
        }
        self._feedback[feedback_id] = feedback
        while len(self._feedback) > MAX_FEEDBACK:
            self._feedback.popitem(last=False)
        return feedback

    def revise_feedback(self, feedback_id: str, given: Json) -> bool:
        known = self._feedback.get(feedback_id)
        if known is None:
            return False
        known |= {key: given[key] for key in ("rating", "content") if key in given}
        return True

    def feedback_of(self, flow: str) -> list[Json]:
        return [each for each in self._feedback.values() if each["chatflowid"] == flow]


def message(role: str, flow: str, content: Any, *, message_id: str, chat_id: str, session_id: str, **more: Any) -> Json:
    """Return a message in the form of Flowise's API."""
    return {
        "id": message_id,
        "role": role,
        "chatflowid": flow,
        "executionId": None,
        "content": content,
        "sourceDocuments": None,
        "usedTools": None,
        "fileAnnotations": None,
        "agentReasoning": None,
        "reasonContent": None,
        "fileUploads": None,
        "artifacts": None,
        "action": None,
        "chatType": "EXTERNAL",
        "chatId": chat_id,
        "memoryType": None,
        "sessionId": session_id,
        "createdDate": now_text(),
        "leadEmail": None,
        "followUpPrompts": None,
        "execution": None,
        **more,
    }


def now_text() -> str:
    """Return the present time in Flowise's format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _places(message: Json) -> tuple[Place, Place]:
    flow = message["chatflowid"]
    return (flow, "chat", message["chatId"]), (flow, "session", message["sessionId"])
