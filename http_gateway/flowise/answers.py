"""Answers and questions to people in Flowise's form, plain and for the end of a stream. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from agentic_flywheel.doings import Artifact, FlowStep, ToolUse, step_object
from agentic_flywheel.models import Answer
from agentic_flywheel.stops import Stop
from http_gateway.flowise.names import message_id_of, stored_name

Json = dict[str, Any]
#: What an answer has beside its text, by Flowise's names, in the order in which it is streamed.
MADE_BY_FLOW = ("sourceDocuments", "usedTools", "artifacts")
#: Flowise's path of files that it keeps.
STORED = "get-upload-file"


class ClientChat(NamedTuple):
    """One exchange, as its client knows it."""

    chat_id: str
    session_id: str
    query_id: str
    #: None where a form was sent.
    question: str | None


def plain_answer(chat: ClientChat, answer: Answer, *, streams: bool) -> Json:
    """Return an answer as a plain prediction has it."""
    made = {name: told for name, told in made_by_flow(answer, chat).items() if told}
    # A flow of a custom function answers with an object.
    said: Json = {"json": answer.data} if answer.data is not None and not answer.text else {"text": answer.text}
    told = metadata_of(chat, answer)
    # Here Flowise writes it as JSON in JSON.
    follow_ups = {"followUpPrompts": json.dumps(told.pop("followUpPrompts"))} if "followUpPrompts" in told else {}
    return {**said, **told, **follow_ups, "isStreamValid": streams, **made}


def plain_question(chat: ClientChat, stop: Stop) -> Json:
    """Return what a flow asks a person, as a plain prediction has it."""
    told = {"text": stop.text, **metadata_of(chat), "isStreamValid": False}
    return {**told, "action": action_of(chat.query_id, stop)}


def metadata_of(chat: ClientChat, answer: Answer | None = None) -> Json:
    """Return what names an exchange. The chat is the client's own: with another one it would lose its place."""
    told: Json = {"chatId": chat.chat_id, "chatMessageId": message_id_of(chat.query_id)}
    if chat.question is not None:
        told["question"] = chat.question
    told["sessionId"] = chat.session_id
    if answer is not None and answer.follow_ups:
        told["followUpPrompts"] = json.dumps(list(answer.follow_ups), ensure_ascii=False)
    return told


def action_of(query_id: str, stop: Stop) -> Json:
    """Return what a client shows for a flow that asks: a button for each decision."""
    labels = {"proceed": stop.choices.get("proceed", "Proceed"), "reject": stop.choices.get("reject", "Reject")}
    buttons = (("proceed", "agentflowv2-approve-button"), ("reject", "agentflowv2-reject-button"))
    return {
        "id": str(uuid.uuid5(uuid.UUID(message_id_of(query_id)), str(stop.number))),
        "mapping": {"approve": labels["proceed"], "reject": labels["reject"]},
        "elements": [{"type": kind, "label": labels[decision]} for decision, kind in buttons],
        "data": {
            "nodeId": node_of_stop(stop),
            "nodeLabel": stop.title or stop.node or "",
            "input": {"humanInputEnableFeedback": stop.feedback},
        },
    }


def node_of_stop(stop: Stop) -> str:
    """Return what a client is told of the node that asks, and gives back with the decision.

    One node may ask again, and two flows may have nodes of one name. So a stop after a query's first one has its number
    behind the node.
    """
    return (stop.node or "") if stop.number == 1 else f"{stop.node or ''}#{stop.number}"


def made_by_flow(answer: Answer, chat: ClientChat) -> Json:
    """Return all that a flow did and found for an answer."""
    # An answer from the cache or from another query's call: its files are that one's.
    return {
        "sourceDocuments": [dict(each) for each in answer.sources],
        "usedTools": [_tool(each) for each in answer.tools],
        "artifacts": [artifact for each in answer.artifacts if (artifact := _artifact(each, chat.query_id))],
        "agentFlowExecutedData": [node_of(step_object(each), _tools_of(each, answer)) for each in answer.steps],
    }


def node_of(step: Mapping[str, Any], tools: Sequence[Json] = ()) -> Json:
    """Return a step of a flow, and the tools that it used, as a node that ran."""
    output: Json = {"usedTools": list(tools)} if tools else {}
    if usage := step.get("usage"):
        output["usageMetadata"] = usage
    if elapsed := step.get("elapsed_ms"):
        output["timeMetadata"] = {"delta": elapsed}
    if reasoning := step.get("reasoning"):
        output["reasonContent"] = {"thinking": reasoning}
    about: Json = {"id": step.get("id", ""), "name": step.get("kind", ""), "output": output}
    if error := step.get("error"):
        about["error"] = error
    return {
        "nodeId": step.get("id", ""),
        "nodeLabel": step.get("name", ""),
        "data": about,
        "previousNodeIds": [],
        "status": {"running": "INPROGRESS"}.get(str(step.get("status")), str(step.get("status")).upper()),
    }


def _tools_of(step: FlowStep, answer: Answer) -> list[Json]:
    return [_tool(each) for each in answer.tools if each.step == step.id]


def _tool(use: ToolUse) -> Json:
    told: Json = {"tool": use.name, "toolInput": use.input, "toolOutput": "" if use.output is None else use.output}
    return {**told, "error": use.error} if use.error is not None else told


def _artifact(made: Artifact, query_id: str) -> Json | None:
    """Return an artifact; None where nothing of it can be fetched."""
    if made.link is None:
        return {"type": made.type, "data": made.text} if made.text else None
    stored = stored_file(made)
    data = f"FILE-STORAGE::{stored_name(query_id, stored)}" if stored else made.link
    return {"type": made.type, "name": made.name, "data": data}


def stored_file(made: Artifact) -> str | None:
    """Return the name of an artifact that Flowise keeps as a file; None of any other."""
    return stored_at(made)[1] if made.link and f"/{STORED}?" in made.link else None


def stored_at(made: Artifact) -> tuple[str, str]:
    """Return the chat and the name under which Flowise keeps an artifact."""
    told = parse_qs(urlsplit(made.link or "").query)
    return told.get("chatId", [""])[0], told.get("fileName", [""])[0]
