"""What a flow's own data says of its use; whatever stands there, reading it does not fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_flywheel.backends.flowise.about import FlowPurpose
from agentic_flywheel.backends.flowise.listing import read_chatflow


def about(*nodes: dict[str, Any], **found: Any) -> FlowPurpose:
    data = {"nodes": [{"data": node} for node in nodes]}
    return read_chatflow({"id": "a", "flowData": json.dumps(data), **found}).about


def test_prompts_are_found_in_chatflows_and_agentflows() -> None:
    chain = {"name": "conversationChain", "inputs": {"systemMessagePrompt": "You are terse."}}
    messages = [{"role": "user", "content": "no"}, {"role": "system", "content": "You help."}]
    agent = {"name": "llmAgentflow", "inputs": {"llmMessages": messages}}

    assert about(chain, agent).prompts == ("You are terse.", "You help.")


def test_owners_words_and_starters_are_read() -> None:
    prompts = {"0": {"prompt": "Where is my order?"}, "1": {"prompt": " "}, "2": None}
    chatbot = json.dumps({"welcomeMessage": "Hello", "starterPrompts": prompts})

    found = about(chatbotConfig=chatbot)
    assert (found.description, found.starters) == ("Hello", ("Where is my order?",))
    assert about(chatbotConfig=chatbot, mcpServerConfig='{"description": "Orders"}').description == "Orders"


@pytest.mark.parametrize(
    ("node", "remembers"),
    [
        ({"name": "bufferMemory", "category": "Memory"}, True),
        ({"name": "RedisBackedChatMemory"}, True),
        ({"name": "conversationalRetrievalQAChain"}, True),
        ({"name": "llmAgentflow", "inputs": {"llmEnableMemory": True}}, True),
        ({"name": "llmAgentflow", "inputs": {"llmEnableMemory": False}}, False),
        ({"name": "customFunction", "inputs": {}}, False),
        ({"name": "executeFlowAgentflow"}, True),
    ],
)
def test_it_is_seen_whether_a_flow_remembers(node: dict[str, Any], remembers: bool) -> None:
    assert about(node).remembers is remembers


def test_without_nodes_it_is_not_known_whether_it_remembers() -> None:
    assert about().remembers is None


@pytest.mark.parametrize(
    ("node", "acts"),
    [
        ({"name": "agentAgentflow", "inputs": {"agentTools": [{"agentSelectedTool": "calculator"}]}}, True),
        ({"name": "agentAgentflow", "inputs": {"agentTools": []}}, False),
        ({"name": "httpAgentflow"}, True),
        ({"name": "toolAgentflow"}, True),
        ({"name": "calculator", "category": "Tools"}, True),
        ({"name": "llmAgentflow"}, False),
    ],
)
def test_it_is_seen_whether_a_flow_acts(node: dict[str, Any], acts: bool) -> None:
    assert about(node).acts is acts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("inputs", "name", "category", "llmMessages", "agentTools", "systemMessage", "starterPrompts", "description")


@pytest.mark.parametrize(
    "limit", [{"limitMax": 1, "limitDuration": 1e300}, {"limitMax": 1e999, "limitDuration": 1}, {}]
)
def test_a_limit_that_is_none_is_left_out(limit: dict[str, Any]) -> None:
    settings = json.dumps({"rateLimit": {"status": True, **limit}})

    assert read_chatflow({"id": "a", "apiConfig": settings}).rate is None


@given(st.dictionaries(st.sampled_from(NAMES), JSON), JSON, st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_stands_there_is_read(inputs: dict[str, Any], odd: Any, chatbot: dict[str, Any]) -> None:
    found = about({"name": "x", "inputs": inputs}, {"inputs": odd}, chatbotConfig=json.dumps(chatbot))

    assert all(isinstance(each, str) for each in (found.description, *found.prompts, *found.starters))
