"""The nodes of an AgentFlow: what each tells at its begin and its end, and what it says of itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from flowise_sandbox.behaviour import Fault
from flowise_sandbox.flows import Style, form_inputs
from flowise_sandbox.script import ABORTED, BUILD, END, KEY_ADVICE, FlowRun, Json, ScriptStep, SentEvent, speak

START = ("startAgentflow_0", "Start", "startAgentflow")
MODEL = ("llmAgentflow_0", "LLM 0", "llmAgentflow")
AGENT = ("agentAgentflow_0", "Agent 0", "agentAgentflow")
CODE = ("customFunctionAgentflow_0", "Custom Function 0", "customFunctionAgentflow")
REPLY = ("directReplyAgentflow_0", "Direct Reply 0", "directReplyAgentflow")
REJECTED = ("directReplyAgentflow_1", "Direct Reply 1", "directReplyAgentflow")

Named = tuple[str, str, str]


def node(run: FlowRun, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[ScriptStep]:
    yield progress(named, "INPROGRESS")
    yield from done(run, named, previous=previous, **data)


def done(run: FlowRun, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[ScriptStep]:
    yield progress(named, "FINISHED")
    before = previous or (run.nodes[-1]["nodeId"] if run.nodes else None)
    history = {key: data.pop(key) for key in ("chatHistory",) if key in data}
    yield executed(run, entry(named, previous=before, status="FINISHED", **data, state={}, **history))


def say(run: FlowRun, named: Named) -> Iterator[ScriptStep]:
    yield progress(named, "INPROGRESS")
    yield from speak(run, [run.reply.text])
    yield from done(run, named, input={}, output={"content": run.reply.text})


def fail(run: FlowRun, named: Named, cause: str) -> Iterator[ScriptStep]:
    yield SentEvent("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": "ERROR", "error": cause})
    yield executed(run, entry(named, previous=START[0], status="ERROR", error=cause))
    refused = run.fault is Fault.PROVIDER_KEY and cause is not ABORTED
    yield from ended(run, "ERROR", cause, KEY_ADVICE if refused else BUILD + cause)


def ended(run: FlowRun, state: str, cause: str, told: str | None = None) -> Iterator[ScriptStep]:
    run.state, run.failure = state, told or BUILD + cause
    yield SentEvent("agentFlowEvent", state)
    yield SentEvent("error", run.failure)
    yield END


def asks(named: Named, asked: Json) -> Json:
    """Return what a node asks a person."""
    return {
        "id": str(uuid.uuid4()),
        "mapping": {"approve": "Proceed", "reject": "Reject"},
        "elements": [
            {"type": "agentflowv2-approve-button", "label": "Proceed"},
            {"type": "agentflowv2-reject-button", "label": "Reject"},
        ],
        "data": {"nodeId": named[0], "nodeLabel": named[1], "input": asked},
    }


def stopped(run: FlowRun, named: Named, last: Json) -> Iterator[ScriptStep]:
    """Yield the steps with which a run stops at a node, whose entry is ``last``."""
    yield progress(named, "STOPPED")
    yield executed(run, last)
    yield SentEvent("agentFlowEvent", "STOPPED")
    yield SentEvent("action", run.action)
    yield SentEvent("agentFlowEvent", "STOPPED")
    run.state = "STOPPED"
    yield SentEvent("metadata", run.metadata())
    yield END


def finish(run: FlowRun) -> Iterator[ScriptStep]:
    run.state = "FINISHED"
    yield SentEvent("agentFlowEvent", "FINISHED")
    yield SentEvent("metadata", run.metadata())
    yield END


def progress(named: Named, status: str) -> SentEvent:
    return SentEvent("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": status})


def executed(run: FlowRun, entry: Json) -> SentEvent:
    run.nodes.append(entry)
    return SentEvent("agentFlowExecutedData", list(run.nodes))


def entry(named: Named, *, previous: str | None, status: str, **data: Any) -> Json:
    return {
        "nodeId": named[0],
        "nodeLabel": named[1],
        "data": {"id": named[0], "name": named[2], **data},
        "previousNodeIds": [previous] if previous else [],
        "status": status,
    }


# What nodes say of themselves


def start_input(run: FlowRun) -> Json:
    if run.flow.style is Style.FORM:
        return {"form": {"title": "Form", "description": "What is needed", "inputs": form_inputs(run.flow)}}
    return {key: run.body[key] for key in ("question",) if key in run.body}


def start_output(run: FlowRun) -> Json:
    if run.flow.style is Style.FORM:
        form = run.body.get("form")
        told = ", ".join(f"{key}: {value}" for key, value in form.items()) if isinstance(form, dict) else run.question
        return {"form": told}
    return start_input(run)


def model_input(run: FlowRun, agent: bool) -> Json:
    prefix = "agent" if agent else "llm"
    messages: list[Json] = [{"role": "user", "content": str(run.question)}]
    tools: Json = {}
    if agent:
        name = run.tool.name
        called = {"name": name, "args": {"input": "6*7"}, "id": "call_1", "type": "tool_call"}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [called], "additional_kwargs": {}, "id": "chatcmpl-1"},
            {
                "role": "tool",
                "content": run.tool.used["toolOutput"],
                "tool_call_id": "call_1",
                "name": name,
                "additional_kwargs": {},
            },
        ]
        tools = {"agentTools": [{"agentSelectedTool": name, "agentSelectedToolRequiresHumanInput": ""}]}
    config = {"modelName": "sandbox", "temperature": "0.2", "streaming": True, f"{prefix}Model": "chatOpenAI"}
    return {
        "messages": messages,
        f"{prefix}Model": "chatOpenAI",
        **tools,
        f"{prefix}EnableMemory": True,
        f"{prefix}ReturnResponseAs": "userMessage",
        f"{prefix}ModelConfig": config,
    }


def model_output(run: FlowRun, agent: bool) -> Json:
    read, said = len(str(run.question).split()), len(run.reply.text.split())
    now = int(time.time() * 1000)
    usage: Json = {"input_tokens": read, "output_tokens": said, "total_tokens": read + said}
    usage |= {"input_token_details": {}, "output_token_details": {}}
    output: Json = {
        "content": run.reply.text,
        "timeMetadata": {"start": now, "end": now, "delta": 0},
        "calledTools": [],
        "usageMetadata": usage,
        "responseMetadata": {"model_provider": "sandbox", "finish_reason": "stop", "model_name": "sandbox"},
    }
    if agent:
        usage["tool_call_tokens"] = 0
        output["availableTools"] = [{"name": run.tool.name, "description": "Made for tests."}]
    return output


def model_history(run: FlowRun, agent: bool, *, used: bool) -> list[Json]:
    asked: Json = {"role": "user", "content": str(run.question)}
    said: Json = {"role": "user", "content": run.reply.text, "name": "agent_0" if agent else "llm_0"}
    said |= {"additional_kwargs": run.tool.remembered} if used else {}
    return [asked, said] if run.resumed is None else [said]
