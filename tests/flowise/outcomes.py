"""What the client makes of every recording: written down by hand, never derived from the code under test."""

from __future__ import annotations

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
from agentic_flywheel.models import Usage

F = "recorded"  # the flow's key in every error

CALCULATOR = ({"tool": "calculator", "toolInput": {"input": "6*7"}, "toolOutput": "42"},)
OSLO = ({"pageContent": "Oslo is the capital of Norway. Bergen is a city in Norway.", "metadata": {}},)


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


#: Predictions that succeed: the fields that differ from an answer of text alone.
ANSWERS: dict[str, dict[str, Any]] = {
    "abort_chat": {"text": "echo: a b c d e f"},
    "abort_chat_stream": {"text": "echo: a b c d e f"},
    "agent_tool": {
        "text": "echo: 6*7?",
        "used_tools": CALCULATOR,
        "usage": Usage(input_tokens=2, output_tokens=2, total_tokens=8, model="fake-tool"),
    },
    "agent_tool_stream": {
        "text": "echo: 6*7?",
        "used_tools": CALCULATOR,
        "usage": Usage(input_tokens=2, output_tokens=2, total_tokens=8, model="fake-tool"),
    },
    "chat": {"text": "echo: hello there"},
    "chat_fn": {"text": "fn: hello"},
    "chat_fn_json": {"text": "", "data": {"a": 1, "q": "hello"}},
    "chat_fn_streaming_asked": {"text": "fn: hello"},
    "chat_second_turn": {"text": "echo: again"},
    "chat_stream": {"text": "echo: one two three four"},
    "err_empty_body": {"text": "js: undefined"},
    "err_no_question_js": {"text": "js: undefined"},
    "err_no_question_llm": {"text": "echo: undefined"},
    "err_question_number": {"text": "echo: 5"},
    "err_question_object": {"text": 'echo: {"a":1}'},
    "err_text_plain": {"text": "js: undefined"},
    "form": {"text": "form: Kari"},
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
    "upload_url": {"text": "echo: see"},
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
    "chat_401": FlowUnauthorized(F, PROVIDER_KEY),
    "chat_401_stream": FlowUnauthorized(F, PROVIDER_KEY),
    "chat_429": ProviderUnavailable(F, "429 Rate limit reached for fake"),
    "chat_500": ProviderUnavailable(F, "500 The server had an error"),
    "err_bad_json": FlowRefused(F, "Unexpected end of JSON input"),
    "err_bad_uuid": FlowNotFound(F, "not-a-uuid"),
    "err_chatid_number": FlowRefused(F, "Invalid chatId: must be a string"),
    "err_no_id": FlowRefused(F, "id not provided!"),
    "err_unknown_flow": FlowNotFound(F, NO_FLOW),
    "err_wrong_case": FlowUnauthorized(F, "Unauthorized Access"),
    "fail": FlowFailed(F, "Error: NodeVM Execution Error: Error: boom x"),
    "fail_stream": FlowFailed(F, "Error: NodeVM Execution Error: Error: boom x"),
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
    "llm_429": ProviderUnavailable(F, "Error in LLM node: 429 Rate limit reached for fake"),
    "llm_500": ProviderUnavailable(F, "Error in LLM node: 500 The server had an error"),
    "llm_500_stream": ProviderUnavailable(F, "Error in LLM node: 500 The server had an error"),
    "llm_drop_stream": ProviderUnavailable(F, "Error in LLM node: terminated"),
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
    "version",
}
