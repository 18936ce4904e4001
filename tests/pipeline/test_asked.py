"""What a worker reads out of the action with which a flow stops."""

from __future__ import annotations

from datetime import UTC, datetime

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.catalog import Flow
from agentic_flywheel.stops import MAX_ASKED, Decided
from workers.stopping import asked_by, human_input

FLOW = Flow(key="agent", id="a-1", domain="ops")
EXECUTION = Execution("q", "", FLOW, "", "q", fence="7")
#: As Flowise 3.1.4 sent it before an agent used a tool that requires human input; shortened.
ACTION = {
    "id": "8ade3312-53ad-4dd4-957e-96a5ccc38633",
    "mapping": {"approve": "Proceed", "reject": "Reject"},
    "elements": [
        {"type": "agentflowv2-approve-button", "label": "Proceed"},
        {"type": "agentflowv2-reject-button", "label": "Reject"},
    ],
    "data": {
        "nodeId": "agentAgentflow_0",
        "nodeLabel": "Agent 0",
        "input": {
            "messages": [{"role": "user", "content": "What is 6*7?"}],
            "agentModel": "chatOpenAI",
            "agentModelConfig": {"credential": "bd04"},
        },
    },
}
TEXT = '\nAttempting to use tool:\n```json\n{"name": "calculator", "args": {"input": "6*7"}}\n```'


def test_what_an_agent_asks_before_it_uses_a_tool_is_told_and_no_more_of_its_node() -> None:
    asked = asked_by(EXECUTION, FlowAnswer(text=TEXT, action=ACTION, chat_id="q-7", message_id="m"))

    assert (asked.text, asked.node, asked.title, asked.feedback) == (TEXT, "agentAgentflow_0", "Agent 0", False)
    assert asked.choices == {"proceed": "Proceed", "reject": "Reject"}
    assert "bd04" not in asked.model_dump_json()


def test_an_action_of_another_form_is_asked_too() -> None:
    for action in ({"mapping": {"approve": "Yes"}}, {"mapping": [], "data": "x"}, {"data": {"nodeLabel": 3}}):
        asked = asked_by(EXECUTION, FlowAnswer(text="May I?", action=action))
        assert asked.choices["reject"] == "Reject"
        assert (asked.node, asked.title, asked.chat_id) == (None, None, "q-7")


def test_a_long_text_is_cut_and_labels_are_bounded() -> None:
    action = {"mapping": {"approve": "y" * 9999}, "data": {"input": {"humanInputEnableFeedback": False}}}

    asked = asked_by(EXECUTION, FlowAnswer(text="x" * 99_999, action=action))

    kept = asked.text.count("x")
    assert asked.text == "x" * kept + f"… [{99_999 - kept} characters more]"
    assert MAX_ASKED - 100 <= len(asked.text) <= MAX_ASKED
    assert len(asked.choices["proceed"]) == 200
    assert not asked.feedback


def test_a_decision_is_told_to_the_node_that_asked_without_an_empty_feedback() -> None:
    asked = asked_by(EXECUTION, FlowAnswer(text=TEXT, action=ACTION))
    now = datetime.now(UTC)

    told = human_input(Decided(1, "reject", now, now, asked, " "))

    assert (told.type, told.start_node_id, told.feedback) == ("reject", "agentAgentflow_0", None)
