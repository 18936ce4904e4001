"""Play the run of an AgentFlow: its nodes one after the other, each with an event at its begin and its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from flowise_sandbox.answers import tokens
from flowise_sandbox.behaviour import Fault
from flowise_sandbox.flows import Style, form_inputs
from flowise_sandbox.script import (
    ABORTED,
    BUILD,
    CANCELLED,
    END,
    KEY_ADVICE,
    OWN_CODE,
    PROVIDER_WORDS,
    FlowRun,
    Json,
    Pause,
    ScriptStep,
    SentEvent,
    speak,
)
from flowise_sandbox.tools import OUT_OF_STOCK

START = ("startAgentflow_0", "Start", "startAgentflow")
MODEL = ("llmAgentflow_0", "LLM 0", "llmAgentflow")
AGENT = ("agentAgentflow_0", "Agent 0", "agentAgentflow")
CODE = ("customFunctionAgentflow_0", "Custom Function 0", "customFunctionAgentflow")
REPLY = ("directReplyAgentflow_0", "Direct Reply 0", "directReplyAgentflow")
REJECTED = ("directReplyAgentflow_1", "Direct Reply 1", "directReplyAgentflow")

Named = tuple[str, str, str]


def agentflow(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of an AgentFlow's run."""
    yield SentEvent("agentFlowEvent", "INPROGRESS")
    if run.resumed is not None:
        yield from _resume(run)
        return
    yield from _node(run, START, output=_start_output(run), input=_start_input(run))
    style = run.flow.style
    if style is Style.LLM or style.has_agent:
        yield from _model(run)
    elif style is Style.APPROVAL:
        yield from _stop(run)
    else:
        yield from _code(run)


# The parts of a run


def _model(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of a model's node; where it is an agent, also those of its tool."""
    agent = run.flow.style.has_agent
    named = AGENT if agent else MODEL
    kind = "Agent" if agent else "LLM"
    yield _progress(named, "INPROGRESS")
    if run.fault not in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN, Fault.ERROR):
        yield SentEvent("token", "")
    yield Pause(run.behaviour.latency, interruptible=True)
    if run.fault is Fault.ERROR:
        yield from _fail(run, named, OWN_CODE)
        return
    if run.fault in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN):
        yield from _fail(run, named, f"Error in {kind} node: {PROVIDER_WORDS[run.fault]}")
        return
    if agent:
        yield SentEvent("token", "")
        yield SentEvent("calledTools", [run.tool.called])
        if run.tool.failed:
            yield SentEvent("usedTools", [run.tool.used])
            yield from _fail(run, named, f"Error in {kind} node: {OUT_OF_STOCK}")
            return
        yield SentEvent("token", "")
    yield from speak(run, tokens(run.reply.text))
    if run.aborted or run.fault is Fault.PROVIDER_CUT:
        cause = ABORTED if run.aborted else PROVIDER_WORDS[Fault.PROVIDER_CUT]
        yield from _fail(run, named, f"Error in {kind} node: {cause}")
        return
    yield SentEvent("token", "")
    yield SentEvent("token", "")
    if agent:
        for name, told in run.tool.fields.items():
            yield SentEvent(name, told)
    yield SentEvent("calledTools", [])
    output = _model_output(run, agent)
    yield SentEvent(
        "usageMetadata", {key: value for key, value in output["usageMetadata"].items() if "call" not in key}
    )
    yield from _done(run, named, input=_model_input(run, agent), output=output, chatHistory=_model_history(run, agent))
    yield from _finish(run)


def _code(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of a custom function and of the reply with its result; without the reply where it is last."""
    last = run.flow.style in (Style.SCRIPT, Style.FORM)
    yield _progress(CODE, "INPROGRESS")
    # An abort does not interrupt code.
    yield Pause(run.behaviour.latency)
    if run.fault is not None and run.fault is not Fault.DROP and run.fault is not Fault.EMPTY:
        yield from _fail(run, CODE, OWN_CODE)
        return
    if last:
        yield from speak(run, [run.reply.text])
    inputs: Any = [{"variableName": "n", "variableValue": str(run.question)}] if run.flow.style is Style.FORM else ""
    code = {"inputVariables": inputs, "code": "return answer($flow.input);"}
    yield from _done(run, CODE, input=code, output={"content": run.reply.text})
    if run.aborted:
        yield _progress(REPLY, "TERMINATED")
        yield _executed(run, _entry(REPLY, previous=CODE[0], status="TERMINATED", error=CANCELLED))
        yield from _ended(run, "TERMINATED", CANCELLED)
        return
    if not last:
        yield from _say(run, REPLY)
    yield from _finish(run)


def _stop(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps up to the node that waits for a person's decision."""
    human, before = _human(run.stops), run.nodes[-1]["nodeId"]
    asked: Json = {"messages": [], "humanInputEnableFeedback": True}
    run.action = {
        "id": str(uuid.uuid4()),
        "mapping": {"approve": "Proceed", "reject": "Reject"},
        "elements": [
            {"type": "agentflowv2-approve-button", "label": "Proceed"},
            {"type": "agentflowv2-reject-button", "label": "Reject"},
        ],
        "data": {"nodeId": human[0], "nodeLabel": human[1], "input": asked},
    }
    yield _progress(human, "INPROGRESS")
    yield Pause(run.behaviour.latency)
    yield SentEvent("token", run.reply.text)
    yield _progress(human, "STOPPED")
    output = {"content": run.reply.text, "humanInputAction": run.action}
    history = [{"role": "assistant", "content": run.reply.text}]
    yield _executed(
        run,
        _entry(
            human,
            previous=before,
            status="STOPPED",
            input=asked,
            output=output,
            state={},
            chatHistory=history,
        ),
    )
    yield SentEvent("agentFlowEvent", "STOPPED")
    yield SentEvent("action", run.action)
    yield SentEvent("agentFlowEvent", "STOPPED")
    run.state = "STOPPED"
    yield SentEvent("metadata", run.metadata())
    yield END


def _resume(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps that follow a person's decision."""
    decided, human = run.body["humanInput"], _human(run.stops - 1)
    run.nodes = [node for node in run.resumed or [] if node["status"] != "STOPPED"]
    before = run.nodes[-1]["nodeId"]
    proceeds = decided.get("type") == "proceed"
    said = decided.get("feedback") or decided.get("type")
    feedback = {"feedback": decided["feedback"]} if decided.get("feedback") else {}
    conditions = [
        {"type": each, "startNodeId": human[0], **feedback, "isFulfilled": each == decided.get("type")}
        for each in ("proceed", "reject")
    ]
    heard: Json = {"type": decided.get("type"), "startNodeId": human[0], **feedback}
    heard["messages"] = [{"content": "asked", "role": "assistant"}, {"role": "user", "content": said}]
    history: Json = {"chatHistory": [{"role": "user", "content": said}]} if feedback else {}
    output = {"content": said, "conditions": conditions}
    yield from _node(run, human, input=heard, output=output, previous=before, **history)
    if proceeds and run.stops < run.behaviour.stops:
        yield from _stop(run)
        return
    yield Pause(run.behaviour.latency)
    yield from _say(run, REPLY if proceeds else REJECTED)
    yield from _finish(run)


def _human(stops: int) -> Named:
    """Return the node that asks after so many stops."""
    return f"humanInputAgentflow_{stops}", f"Human Input {stops}", "humanInputAgentflow"


# The nodes


def _node(run: FlowRun, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[ScriptStep]:
    yield _progress(named, "INPROGRESS")
    yield from _done(run, named, previous=previous, **data)


def _done(run: FlowRun, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[ScriptStep]:
    yield _progress(named, "FINISHED")
    before = previous or (run.nodes[-1]["nodeId"] if run.nodes else None)
    history = {key: data.pop(key) for key in ("chatHistory",) if key in data}
    yield _executed(run, _entry(named, previous=before, status="FINISHED", **data, state={}, **history))


def _say(run: FlowRun, named: Named) -> Iterator[ScriptStep]:
    yield _progress(named, "INPROGRESS")
    yield from speak(run, [run.reply.text])
    yield from _done(run, named, input={}, output={"content": run.reply.text})


def _fail(run: FlowRun, named: Named, cause: str) -> Iterator[ScriptStep]:
    yield SentEvent("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": "ERROR", "error": cause})
    yield _executed(run, _entry(named, previous=START[0], status="ERROR", error=cause))
    refused = run.fault is Fault.PROVIDER_KEY and cause is not ABORTED
    yield from _ended(run, "ERROR", cause, KEY_ADVICE if refused else BUILD + cause)


def _ended(run: FlowRun, state: str, cause: str, told: str | None = None) -> Iterator[ScriptStep]:
    run.state, run.failure = state, told or BUILD + cause
    yield SentEvent("agentFlowEvent", state)
    yield SentEvent("error", run.failure)
    yield END


def _finish(run: FlowRun) -> Iterator[ScriptStep]:
    run.state = "FINISHED"
    yield SentEvent("agentFlowEvent", "FINISHED")
    yield SentEvent("metadata", run.metadata())
    yield END


def _progress(named: Named, status: str) -> SentEvent:
    return SentEvent("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": status})


def _executed(run: FlowRun, entry: Json) -> SentEvent:
    run.nodes.append(entry)
    return SentEvent("agentFlowExecutedData", list(run.nodes))


def _entry(named: Named, *, previous: str | None, status: str, **data: Any) -> Json:
    return {
        "nodeId": named[0],
        "nodeLabel": named[1],
        "data": {"id": named[0], "name": named[2], **data},
        "previousNodeIds": [previous] if previous else [],
        "status": status,
    }


# What nodes say of themselves


def _start_input(run: FlowRun) -> Json:
    if run.flow.style is Style.FORM:
        return {"form": {"title": "Form", "description": "What is needed", "inputs": form_inputs(run.flow)}}
    return {key: run.body[key] for key in ("question",) if key in run.body}


def _start_output(run: FlowRun) -> Json:
    if run.flow.style is Style.FORM:
        form = run.body.get("form")
        told = ", ".join(f"{key}: {value}" for key, value in form.items()) if isinstance(form, dict) else run.question
        return {"form": told}
    return _start_input(run)


def _model_input(run: FlowRun, agent: bool) -> Json:
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


def _model_output(run: FlowRun, agent: bool) -> Json:
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
        output |= run.tool.fields
        output["availableTools"] = [{"name": run.tool.name, "description": "Made for tests."}]
    return output


def _model_history(run: FlowRun, agent: bool) -> list[Json]:
    asked: Json = {"role": "user", "content": str(run.question)}
    said: Json = {"role": "user", "content": run.reply.text, "name": "agent_0" if agent else "llm_0"}
    return [asked, {**said, "additional_kwargs": run.tool.remembered} if agent else said]
