"""The dialect of an AgentFlow: node after node, each told when it begins and when it is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from workers.sandbox.answers import tokens
from workers.sandbox.behaviour import Fault
from workers.sandbox.flows import Style
from workers.sandbox.script import (
    ABORTED,
    BUILD,
    CANCELLED,
    END,
    KEY_ADVICE,
    OWN_CODE,
    PROVIDER_WORDS,
    Event,
    Json,
    Pause,
    Run,
    Step,
    speak,
)

START = ("startAgentflow_0", "Start", "startAgentflow")
MODEL = ("llmAgentflow_0", "LLM 0", "llmAgentflow")
AGENT = ("agentAgentflow_0", "Agent 0", "agentAgentflow")
CODE = ("customFunctionAgentflow_0", "Custom Function 0", "customFunctionAgentflow")
REPLY = ("directReplyAgentflow_0", "Direct Reply 0", "directReplyAgentflow")
REJECTED = ("directReplyAgentflow_1", "Direct Reply 1", "directReplyAgentflow")
HUMAN = ("humanInputAgentflow_0", "Human Input 0", "humanInputAgentflow")

Named = tuple[str, str, str]


def agentflow(run: Run) -> Iterator[Step]:
    """Play an AgentFlow's run."""
    yield Event("agentFlowEvent", "INPROGRESS")
    if run.resumed is not None:
        yield from _resume(run)
        return
    yield from _node(run, START, output=_start_output(run), input=_start_input(run))
    style = run.flow.style
    if style in (Style.LLM, Style.AGENT):
        yield from _model(run)
    elif style is Style.APPROVAL:
        yield from _stop(run)
    else:
        yield from _code(run)


# The parts of a run


def _model(run: Run) -> Iterator[Step]:
    """A model speaks, with a tool's help where it is an agent."""
    agent = run.flow.style is Style.AGENT
    named = AGENT if agent else MODEL
    kind = "Agent" if agent else "LLM"
    yield _progress(named, "INPROGRESS")
    if run.fault not in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN, Fault.ERROR):
        yield Event("token", "")
    yield Pause(run.behaviour.latency, interruptible=True)
    if run.fault is Fault.ERROR:
        yield from _fail(run, named, OWN_CODE)
        return
    if run.fault in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN):
        yield from _fail(run, named, f"Error in {kind} node: {PROVIDER_WORDS[run.fault]}")
        return
    if agent:
        yield Event("token", "")
        yield Event("calledTools", [{**_TOOL, "toolOutput": ""}])
        yield Event("token", "")
    yield from speak(run, tokens(run.reply.text))
    if run.aborted or run.fault is Fault.PROVIDER_CUT:
        cause = ABORTED if run.aborted else PROVIDER_WORDS[Fault.PROVIDER_CUT]
        yield from _fail(run, named, f"Error in {kind} node: {cause}")
        return
    yield Event("token", "")
    yield Event("token", "")
    if agent:
        yield Event("usedTools", [_TOOL])
    yield Event("calledTools", [])
    output = _model_output(run, agent)
    yield Event("usageMetadata", {key: value for key, value in output["usageMetadata"].items() if "call" not in key})
    yield from _done(run, named, input=_model_input(run, agent), output=output, chatHistory=_model_history(run, agent))
    yield from _finish(run)


def _code(run: Run) -> Iterator[Step]:
    """A custom function computes; a reply says its result, unless the function comes last."""
    last = run.flow.style in (Style.SCRIPT, Style.FORM)
    yield _progress(CODE, "INPROGRESS")
    # Code does not notice an abort before it is done.
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


def _stop(run: Run) -> Iterator[Step]:
    """Stop and ask a person."""
    asked: Json = {"messages": [], "humanInputEnableFeedback": True}
    run.action = {
        "id": str(uuid.uuid4()),
        "mapping": {"approve": "Proceed", "reject": "Reject"},
        "elements": [
            {"type": "agentflowv2-approve-button", "label": "Proceed"},
            {"type": "agentflowv2-reject-button", "label": "Reject"},
        ],
        "data": {"nodeId": HUMAN[0], "nodeLabel": HUMAN[1], "input": asked},
    }
    yield _progress(HUMAN, "INPROGRESS")
    yield Pause(run.behaviour.latency)
    yield Event("token", run.reply.text)
    yield _progress(HUMAN, "STOPPED")
    output = {"content": run.reply.text, "humanInputAction": run.action}
    history = [{"role": "assistant", "content": run.reply.text}]
    yield _executed(
        run,
        _entry(HUMAN, previous=START[0], status="STOPPED", input=asked, output=output, state={}, chatHistory=history),
    )
    yield Event("agentFlowEvent", "STOPPED")
    yield Event("action", run.action)
    yield Event("agentFlowEvent", "STOPPED")
    run.state = "STOPPED"
    yield Event("metadata", run.metadata())
    yield END


def _resume(run: Run) -> Iterator[Step]:
    """Go on after a person's decision."""
    decided = run.body["humanInput"]
    run.nodes = [node for node in run.resumed or [] if node["nodeId"] == START[0]]
    proceeds = decided.get("type") == "proceed"
    said = decided.get("feedback") or decided.get("type")
    feedback = {"feedback": decided["feedback"]} if decided.get("feedback") else {}
    conditions = [
        {"type": each, "startNodeId": HUMAN[0], **feedback, "isFulfilled": each == decided.get("type")}
        for each in ("proceed", "reject")
    ]
    heard: Json = {"type": decided.get("type"), "startNodeId": HUMAN[0], **feedback}
    heard["messages"] = [{"content": "asked", "role": "assistant"}, {"role": "user", "content": said}]
    history: Json = {"chatHistory": [{"role": "user", "content": said}]} if feedback else {}
    output = {"content": said, "conditions": conditions}
    yield from _node(run, HUMAN, input=heard, output=output, previous=START[0], **history)
    yield from _say(run, REPLY if proceeds else REJECTED)
    yield from _finish(run)


# The nodes


def _node(run: Run, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[Step]:
    yield _progress(named, "INPROGRESS")
    yield from _done(run, named, previous=previous, **data)


def _done(run: Run, named: Named, *, previous: str | None = None, **data: Any) -> Iterator[Step]:
    yield _progress(named, "FINISHED")
    before = previous or (run.nodes[-1]["nodeId"] if run.nodes else None)
    history = {key: data.pop(key) for key in ("chatHistory",) if key in data}
    yield _executed(run, _entry(named, previous=before, status="FINISHED", **data, state={}, **history))


def _say(run: Run, named: Named) -> Iterator[Step]:
    yield _progress(named, "INPROGRESS")
    yield from speak(run, [run.reply.text])
    yield from _done(run, named, input={}, output={"content": run.reply.text})


def _fail(run: Run, named: Named, cause: str) -> Iterator[Step]:
    yield Event("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": "ERROR", "error": cause})
    yield _executed(run, _entry(named, previous=START[0], status="ERROR", error=cause))
    refused = run.fault is Fault.PROVIDER_KEY and cause is not ABORTED
    yield from _ended(run, "ERROR", cause, KEY_ADVICE if refused else BUILD + cause)


def _ended(run: Run, state: str, cause: str, told: str | None = None) -> Iterator[Step]:
    run.state, run.failure = state, told or BUILD + cause
    yield Event("agentFlowEvent", state)
    yield Event("error", run.failure)
    yield END


def _finish(run: Run) -> Iterator[Step]:
    run.state = "FINISHED"
    yield Event("agentFlowEvent", "FINISHED")
    yield Event("metadata", run.metadata())
    yield END


def _progress(named: Named, status: str) -> Event:
    return Event("nextAgentFlow", {"nodeId": named[0], "nodeLabel": named[1], "status": status})


def _executed(run: Run, entry: Json) -> Event:
    run.nodes.append(entry)
    return Event("agentFlowExecutedData", list(run.nodes))


def _entry(named: Named, *, previous: str | None, status: str, **data: Any) -> Json:
    return {
        "nodeId": named[0],
        "nodeLabel": named[1],
        "data": {"id": named[0], "name": named[2], **data},
        "previousNodeIds": [previous] if previous else [],
        "status": status,
    }


# What nodes say of themselves

_TOOL: Json = {"tool": "calculator", "toolInput": {"input": "6*7"}, "toolOutput": "42"}


def _start_input(run: Run) -> Json:
    if run.flow.style is Style.FORM:
        field = {"type": "string", "label": "Name", "name": "name", "addOptions": ""}
        return {"form": {"title": "Form", "description": "What is needed", "inputs": [field]}}
    return {key: run.body[key] for key in ("question",) if key in run.body}


def _start_output(run: Run) -> Json:
    if run.flow.style is Style.FORM:
        form = run.body.get("form")
        told = ", ".join(f"{key}: {value}" for key, value in form.items()) if isinstance(form, dict) else run.question
        return {"form": told}
    return _start_input(run)


def _model_input(run: Run, agent: bool) -> Json:
    prefix = "agent" if agent else "llm"
    messages: list[Json] = [{"role": "user", "content": str(run.question)}]
    tools: Json = {}
    if agent:
        called = {"name": "calculator", "args": {"input": "6*7"}, "id": "call_1", "type": "tool_call"}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [called], "additional_kwargs": {}, "id": "chatcmpl-1"},
            {"role": "tool", "content": "42", "tool_call_id": "call_1", "name": "calculator", "additional_kwargs": {}},
        ]
        tools = {"agentTools": [{"agentSelectedTool": "calculator", "agentSelectedToolRequiresHumanInput": ""}]}
    config = {"modelName": "sandbox", "temperature": "0.2", "streaming": True, f"{prefix}Model": "chatOpenAI"}
    return {
        "messages": messages,
        f"{prefix}Model": "chatOpenAI",
        **tools,
        f"{prefix}EnableMemory": True,
        f"{prefix}ReturnResponseAs": "userMessage",
        f"{prefix}ModelConfig": config,
    }


def _model_output(run: Run, agent: bool) -> Json:
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
        output["usedTools"] = [_TOOL]
        output["availableTools"] = [{"name": "calculator", "description": "Computes."}]
    return output


def _model_history(run: Run, agent: bool) -> list[Json]:
    asked: Json = {"role": "user", "content": str(run.question)}
    said: Json = {"role": "user", "content": run.reply.text, "name": "agent_0" if agent else "llm_0"}
    return [asked, {**said, "additional_kwargs": {"usedTools": [_TOOL]}} if agent else said]
