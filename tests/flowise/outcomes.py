"""What the client makes of every recording: written down by hand, never derived from the code under test."""

from __future__ import annotations

import json
from typing import Any

from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    ProviderUnavailable,
)
from agentic_flywheel.models import Artifact, ToolUse, Usage
from flowise.recordings import RECORDINGS

F = "recorded"  # the flow's key in every error

CALCULATOR = (ToolUse(name="calculator", input={"input": "6*7"}, output="42", step="agentAgentflow_0"),)
OSLO = ({"pageContent": "Oslo is the capital of Norway. Bergen is a city in Norway.", "metadata": {}},)
ATLAS = (
    {"pageContent": "Oslo is the capital of Norway.", "metadata": {"source": "atlas.pdf", "loc": {"pageNumber": 7}}},
)


def plotted(recording: str, step: str = "") -> dict[str, Any]:
    """The answer of a flow whose tool made a page and a picture, which Flowise keeps under the flow and the chat."""
    told = RECORDINGS[recording]
    stored = f"/api/v1/get-upload-file?chatflowId={told.flow_id}&chatId={told.told('chatId')}&fileName=plot.png"
    return {
        "text": "echo: plot it",
        "tools": (ToolUse(name="plot", input={"input": "6*7"}, output="plotted 6*7", step=step),),
        "artifacts": (Artifact(type="html", text="<b>plot</b>"), Artifact(type="png", name="plot.png", link=stored)),
    }


def of_agent(name: str, output: str, **more: Any) -> dict[str, Any]:
    """The answer of an agent that used this tool."""
    return {
        "text": "echo: plot it",
        "tools": (ToolUse(name=name, input={"input": "6*7"}, output=output, step="agentAgentflow_0"),),
        "usage": Usage(input_tokens=4, output_tokens=3, total_tokens=14, model="fake-tool"),
        **more,
    }


OUT_OF_STOCK = "NodeVM Execution Error: Error: out of stock"
UNSOLD = {
    "text": "echo: plot it",
    "tools": (ToolUse(name="shop", input={"input": "6*7"}, output="", error=OUT_OF_STOCK),),
}


def approval(action_id: str) -> dict[str, Any]:
    return {
        "id": action_id,
        "mapping": {"approve": "Proceed", "reject": "Reject"},
        "elements": [
            {"type": "agentflowv2-approve-button", "label": "Proceed"},
            {"type": "agentflowv2-reject-button", "label": "Reject"},
        ],
        "data": {
            "nodeId": "humanInputAgentflow_0",
            "nodeLabel": "Human Input 0",
            "input": {"messages": [], "humanInputEnableFeedback": True},
        },
    }


def asks_for_tool(name: str, call_id: str) -> dict[str, Any]:
    """What an agent answers that asks a person before it uses its tool; the action is as it was recorded."""
    wanted = {"name": "calculator", "args": {"input": "6*7"}, "id": call_id, "type": "tool_call"}
    text = f"\nAttempting to use tool:\n```json\n{json.dumps(wanted, indent=2)}\n```"
    return {"text": text, "action": RECORDINGS[name].told("action")}


def calculated(*tools: ToolUse, read: int, total: int) -> dict[str, Any]:
    """The answer of that agent after a person's decision."""
    usage = Usage(input_tokens=read, output_tokens=2, total_tokens=total, model="fake-tool")
    return {"text": "echo: 6*7?", "usage": usage, **({"tools": tools} if tools else {})}


#: Predictions that succeed: the fields that differ from an answer of text alone.
ANSWERS: dict[str, dict[str, Any]] = {
    "abort_chat": {"text": "echo: a b c d e f"},
    "abort_chat_stream": {"text": "echo: a b c d e f"},
    "agent_artifact": of_agent("plot", "plotted 6*7", artifacts=plotted("agent_artifact")["artifacts"]),
    "agent_artifact_stream": of_agent("plot", "plotted 6*7", artifacts=plotted("agent_artifact_stream")["artifacts"]),
    "agent_asks": asks_for_tool("agent_asks", "call_5"),
    "agent_asks_again": asks_for_tool("agent_asks_again", "call_11"),
    "agent_asks_again_stream": asks_for_tool("agent_asks_again_stream", "call_9"),
    "agent_asks_proceed": calculated(*CALCULATOR, read=21, total=46),
    "agent_asks_proceed_stream": calculated(*CALCULATOR, read=21, total=46),
    "agent_asks_reject": calculated(read=1, total=6),
    "agent_asks_reject_stream": calculated(read=1, total=6),
    "agent_asks_stream": asks_for_tool("agent_asks_stream", "call_7"),
    "agent_sources": of_agent("find", "found 6*7", sources=ATLAS),
    "agent_sources_stream": of_agent("find", "found 6*7", sources=ATLAS),
    "agent_tool": {
        "text": "echo: 6*7?",
        "tools": CALCULATOR,
        "usage": Usage(input_tokens=2, output_tokens=2, total_tokens=8, model="fake-tool"),
    },
    "agent_tool_stream": {
        "text": "echo: 6*7?",
        "tools": CALCULATOR,
        "usage": Usage(input_tokens=2, output_tokens=2, total_tokens=8, model="fake-tool"),
    },
    "chat": {"text": "echo: hello there"},
    "chat_fn": {"text": "fn: hello"},
    "chat_fn_json": {"text": "", "data": {"a": 1, "q": "hello"}},
    "chat_fn_streaming_asked": {"text": "fn: hello"},
    "chat_second_turn": {"text": "echo: again"},
    "chat_stream": {"text": "echo: one two three four"},
    "chat_tool": plotted("chat_tool"),
    "chat_tool_error": UNSOLD,
    "chat_tool_error_stream": UNSOLD,
    "chat_tool_stream": plotted("chat_tool_stream"),
    "crew": plotted("crew", "seqAgent_0"),
    "crew_stream": plotted("crew_stream", "seqAgent_0"),
    "err_empty_body": {"text": "js: undefined"},
    "err_no_question_js": {"text": "js: undefined"},
    "err_no_question_llm": {"text": "echo: undefined"},
    "err_question_number": {"text": "echo: 5"},
    "err_question_object": {"text": 'echo: {"a":1}'},
    "err_text_plain": {"text": "js: undefined"},
    "form": {"text": "form: Kari"},
    "form_stream": {"text": "form: Kari"},
    "form_with_question": {"text": "form: {{ $form.name }}"},
    "hitl_1": {"text": "\n\nProceed with it?", "action": approval("703cf3b9-d708-43d3-8599-d7e0eafa03fc")},
    "hitl_2_proceed": {"text": "approved"},
    "hitl_5_stream": {"text": "\n\nProceed with it?", "action": approval("12b27108-639e-44ba-b115-7c1524f82864")},
    "hitl_6_reject_stream": {"text": "rejected"},
    "js": {"text": "js: hello"},
    "js_body_sessionId_ignored": {"text": "js: hello"},
    "js_both_ids": {"text": "js: hello"},
    "js_chatid": {"text": "js: hello"},
    "js_history": {"text": "js: hello"},
    "js_nolast_stream": {"text": "js: hello"},
    "js_session": {"text": "js: hello"},
    "js_stream": {"text": "js: hello"},
    "key_nobearer": {"text": "js: x"},
    "key_ok": {"text": "js: x"},
    "key_wrong_on_open_flow": {"text": "js: x"},
    "limited_0": {"text": "js: x"},
    "limited_1": {"text": "js: x"},
    "llm": {
        "text": "echo: hello there",
        "usage": Usage(input_tokens=5, output_tokens=3, total_tokens=8, model="fake"),
    },
    "llm_200ms": {
        "text": "echo: a b c",
        "usage": Usage(input_tokens=6, output_tokens=4, total_tokens=10, model="fake-200ms"),
    },
    "llm_stream": {
        "text": "echo: one two three four",
        "usage": Usage(input_tokens=7, output_tokens=5, total_tokens=12, model="fake-200ms"),
    },
    "override_by_node_id": {"text": "echo: x"},
    "override_enabled": {"text": "echo: x"},
    "override_not_enabled": {"text": "echo: x"},
    "prediction_multipart": {"text": "js: hello"},
    "rag": {"text": "echo: capital?", "sources": OSLO},
    "rag_stream": {"text": "echo: capital?", "sources": OSLO},
    "same_chatid_stream_b": {"text": "slept 600"},
    "stream_true_string": {"text": "js: hello"},
    "upload_image_stream": {"text": "echo: "},
    "upload_image": {"text": "echo: "},
    "upload_url_stream": {"text": "echo: "},
    "upload_url": {"text": "echo: see"},
}

CODE = ("Start finished", "Custom Function 0 finished")
REPLIED = (*CODE, "Direct Reply 0 finished")
MODEL = ("Start finished", "LLM 0 finished")
#: The steps of those that are answers of AgentFlows.
STEPS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("agent_artifact", "agent_artifact_stream", "agent_sources", "agent_sources_stream", "agent_tool"),
        ("Start finished", "Agent 0 finished"),
    ),
    "agent_tool_stream": ("Start finished", "Agent 0 finished"),
    "crew": ("Clerk finished",),
    "crew_stream": ("Clerk finished",),
    "err_empty_body": REPLIED,
    "err_no_question_js": REPLIED,
    "err_text_plain": REPLIED,
    "form": CODE,
    "form_stream": CODE,
    "form_with_question": CODE,
    **dict.fromkeys(
        ("agent_asks", "agent_asks_again", "agent_asks_again_stream", "agent_asks_stream"),
        ("Start finished", "Agent 0 stopped"),
    ),
    **dict.fromkeys(
        ("agent_asks_proceed", "agent_asks_proceed_stream", "agent_asks_reject", "agent_asks_reject_stream"),
        ("Start finished", "Agent 0 finished"),
    ),
    "hitl_1": ("Start finished", "Human Input 0 stopped"),
    "hitl_2_proceed": ("Start finished", "Human Input 0 finished", "Direct Reply 0 finished"),
    "hitl_5_stream": ("Start finished", "Human Input 0 stopped"),
    "hitl_6_reject_stream": ("Start finished", "Human Input 0 finished", "Direct Reply 1 finished"),
    "js": REPLIED,
    "js_body_sessionId_ignored": REPLIED,
    "js_both_ids": REPLIED,
    "js_chatid": REPLIED,
    "js_history": REPLIED,
    "js_nolast_stream": CODE,
    "js_session": REPLIED,
    "js_stream": REPLIED,
    "key_nobearer": REPLIED,
    "key_ok": REPLIED,
    "key_wrong_on_open_flow": REPLIED,
    "limited_0": REPLIED,
    "limited_1": REPLIED,
    "llm": MODEL,
    "llm_200ms": MODEL,
    "llm_stream": MODEL,
    "prediction_multipart": REPLIED,
    "same_chatid_stream_b": REPLIED,
    "stream_true_string": REPLIED,
}

NO_FLOW = "00000000-0000-4000-8000-000000000000"
PROVIDER_KEY = "401 Unauthorized – check your API key and ensure it has access to the requested model."
FINISHED = (
    "Cannot resume execution 7e947caa-144a-4a0d-9470-a64a7547b54f because it is in 'FINISHED' state. "
    "Only executions in 'STOPPED' state (or 'ERROR' after 'STOPPED') can be resumed."
)
BAD_ROLE = (
    'Invalid history format. Each history item must have: { role: "apiMessage" | "userMessage", content: string }'
)

#: Predictions that fail.
FAILURES: dict[str, FlowError] = {
    "abort_llm": FlowFailed(F, "Error in LLM node: This operation was aborted"),
    "abort_llm_stream": FlowFailed(F, "Error in LLM node: This operation was aborted"),
    "abort_slow_js": FlowFailed(F, "Flow execution was cancelled"),
    "abort_slow_js_stream": FlowFailed(F, "Flow execution was cancelled"),
    "agent_tool_error": FlowFailed(F, f"Error in Agent node: {OUT_OF_STOCK}"),
    "agent_tool_error_stream": FlowFailed(F, f"Error in Agent node: {OUT_OF_STOCK}"),
    "chat_401": FlowUnauthorized(F, PROVIDER_KEY),
    "chat_401_stream": FlowUnauthorized(F, PROVIDER_KEY),
    "chat_429": ProviderUnavailable(F, "429 Rate limit reached for fake", repeated=True),
    "chat_500": ProviderUnavailable(F, "500 The server had an error", repeated=True),
    "err_bad_json": FlowRefused(F, "Unexpected end of JSON input"),
    "err_bad_uuid": FlowNotFound(F, "not-a-uuid"),
    "err_chatid_number": FlowRefused(F, "Invalid chatId: must be a string"),
    "err_no_id": FlowRefused(F, "id not provided!"),
    "err_unknown_flow": FlowNotFound(F, NO_FLOW),
    "err_wrong_case": FlowUnauthorized(F, "Unauthorized Access"),
    "fail": FlowFailed(F, "Error: NodeVM Execution Error: Error: boom x"),
    "fail_stream": FlowFailed(F, "Error: NodeVM Execution Error: Error: boom x"),
    "form_and_question": FlowRefused(F, "Question and form cannot be provided at the same time"),
    "hitl_3_again": FlowRefused(F, FINISHED),
    "hitl_4_unknown_session": FlowRefused(F, "No previous execution found for session h-none"),
    "js_history_bad_role": FlowRefused(F, BAD_ROLE),
    "key_missing": FlowUnauthorized(F, "Unauthorized"),
    "key_other_valid": FlowUnauthorized(F, "Unauthorized"),
    "key_wrong": FlowUnauthorized(F, "Unauthorized"),
    "key_wrong_stream": FlowUnauthorized(F, "Unauthorized"),
    "limited_2": FlowRateLimited(F, 54.0),
    "limited_3": FlowRateLimited(F, 54.0),
    "limited_stream": FlowRateLimited(F, 54.0),
    "llm_401": FlowUnauthorized(F, PROVIDER_KEY),
    "llm_401_stream": FlowUnauthorized(F, PROVIDER_KEY),
    "llm_429": ProviderUnavailable(F, "Error in LLM node: 429 Rate limit reached for fake", repeated=True),
    "llm_500": ProviderUnavailable(F, "Error in LLM node: 500 The server had an error", repeated=True),
    "llm_500_stream": ProviderUnavailable(F, "Error in LLM node: 500 The server had an error", repeated=True),
    "upload_wrong_ending": FlowRefused(
        F,
        'MIME type mismatch: file extension "jpg" does not match declared MIME type "image/png". Expected: png',
    ),
    "llm_drop_stream": ProviderUnavailable(F, "Error in LLM node: terminated", repeated=True),
}

#: Predictions that never end: only a bound on the wait helps.
SILENT = {"err_bad_uuid_stream", "err_unknown_flow_stream", "same_chatid_stream_a"}

#: What stands in the way of building exactly the recorded request: the builder refuses or repairs it.
NOT_BUILT = {
    "err_bad_json": "not JSON",
    "err_chatid_number": "a chatId is text",
    "err_empty_body": "no question",
    "err_no_question_js": "no question",
    "err_no_question_llm": "no question",
    "err_question_number": "a question is text",
    "err_question_object": "a question is text",
    "err_text_plain": "we send JSON",
    "form_and_question": "a form stands in place of a question",
    "js_body_sessionId_ignored": "a session belongs into overrideConfig",
    "js_history_bad_role": "roles are userMessage and apiMessage",
    "prediction_multipart": "we send JSON",
    "stream_true_string": "streaming is true, not 'true'",
}

#: Recordings of other calls; each has a test of its own name in test_recordings.py.
OTHER_CALLS = {
    "abort_chat_call",
    "abort_chat_stream_call",
    "abort_llm_call",
    "abort_llm_stream_call",
    "abort_slow_js_call",
    "abort_slow_js_stream_call",
    "abort_unknown",
    "attach",
    "attach_refused",
    "attach_wrong_type",
    "chatflow_one_404",
    "chatflows_badkey",
    "chatflows_by_apikey_keyonly",
    "chatflows_by_bad_apikey",
    "feedback_create",
    "feedback_create_nokey",
    "feedback_list",
    "feedback_update",
    "messages",
    "messages_delete",
    "messages_delete_all",
    "messages_js",
    "messages_nokey",
    "ping",
    "streaming_probe_404",
    "streaming_probe_no",
    "streaming_probe_yes",
    "uploads_probe_404",
    "uploads_probe_images",
    "uploads_probe_none",
    "version",
}
