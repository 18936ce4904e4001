"""Play the run of an AgentFlow: its nodes one after the other, each with an event at its begin and its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowise_sandbox.answers import tokens
from flowise_sandbox.behaviour import Fault
from flowise_sandbox.flows import Style
from flowise_sandbox.nodes import (
    AGENT,
    CODE,
    MODEL,
    REJECTED,
    REPLY,
    START,
    Named,
    asks,
    done,
    ended,
    entry,
    executed,
    fail,
    finish,
    model_history,
    model_input,
    model_output,
    node,
    progress,
    say,
    start_input,
    start_output,
    stopped,
)
from flowise_sandbox.script import (
    ABORTED,
    CANCELLED,
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


def agentflow(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of an AgentFlow's run."""
    yield SentEvent("agentFlowEvent", "INPROGRESS")
    if run.resumed is not None:
        yield from _answer_after_tool(run) if run.flow.style is Style.CAREFUL else _resume(run)
        return
    yield from node(run, START, output=start_output(run), input=start_input(run))
    style = run.flow.style
    if style is Style.CAREFUL:
        yield from _ask_before_tool(run)
    elif style is Style.LLM or style.has_agent:
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
    yield progress(named, "INPROGRESS")
    if run.fault not in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN, Fault.ERROR):
        yield SentEvent("token", "")
    yield Pause(run.behaviour.latency, interruptible=True)
    if run.fault is Fault.ERROR:
        yield from fail(run, named, OWN_CODE)
        return
    if run.fault in (Fault.PROVIDER_KEY, Fault.PROVIDER_LIMIT, Fault.PROVIDER_DOWN):
        yield from fail(run, named, f"Error in {kind} node: {PROVIDER_WORDS[run.fault]}")
        return
    if agent:
        yield SentEvent("token", "")
        yield SentEvent("calledTools", [run.tool.called])
        if run.tool.failed:
            yield SentEvent("usedTools", [run.tool.used])
            yield from fail(run, named, f"Error in {kind} node: {OUT_OF_STOCK}")
            return
        yield SentEvent("token", "")
    yield from speak(run, tokens(run.reply.text))
    if run.aborted or run.fault is Fault.PROVIDER_CUT:
        cause = ABORTED if run.aborted else PROVIDER_WORDS[Fault.PROVIDER_CUT]
        yield from fail(run, named, f"Error in {kind} node: {cause}")
        return
    yield from _answered(run, named, run.tool.fields if agent else {})


def _answered(run: FlowRun, named: Named, tools: Json) -> Iterator[ScriptStep]:
    """Yield the steps with which a model's node ends, once its text is said. ``tools``: what it tells of its tools."""
    agent = named is AGENT
    yield SentEvent("token", "")
    yield SentEvent("token", "")
    for name, told in tools.items():
        yield SentEvent(name, told)
    yield SentEvent("calledTools", [])
    output = {**model_output(run, agent), **tools}
    yield SentEvent(
        "usageMetadata", {key: value for key, value in output["usageMetadata"].items() if "call" not in key}
    )
    history = model_history(run, agent, used=bool(tools))
    before = START[0]
    yield from done(run, named, previous=before, input=model_input(run, agent), output=output, chatHistory=history)
    yield from finish(run)


def _ask_before_tool(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps up to the tool before which an agent waits for a person's decision."""
    called, before = SentEvent("calledTools", [run.tool.called]), run.nodes[-1]["nodeId"]
    yield progress(AGENT, "INPROGRESS")
    yield SentEvent("token", "")
    yield Pause(run.behaviour.latency, interruptible=True)
    yield SentEvent("token", "")
    yield called
    yield SentEvent("token", run.reply.text)
    # Flowise tells of it once more, at the end of the node.
    yield called
    given = model_input(run, agent=True)
    run.action = asks(AGENT, given)
    output = model_output(run, agent=True)
    del output["usageMetadata"]
    output |= {"calledTools": [run.tool.wanted], "isWaitingForHumanInput": True, "humanInputAction": run.action}
    history = model_history(run, agent=True, used=False)
    yield from stopped(
        run,
        AGENT,
        entry(AGENT, previous=before, status="STOPPED", input=given, output=output, state={}, chatHistory=history),
    )


def _answer_after_tool(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of an agent that a person has let use its tool, or not: Flowise tells of it in both cases."""
    run.nodes = [each for each in run.resumed or [] if each["status"] != "STOPPED"]
    yield progress(AGENT, "INPROGRESS")
    yield SentEvent("calledTools", [run.tool.called])
    yield Pause(run.behaviour.latency, interruptible=True)
    yield SentEvent("token", "")
    yield from speak(run, tokens(run.reply.text))
    yield from _answered(run, AGENT, run.tool.fields if run.proceeds else {})


def _code(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps of a custom function and of the reply with its result; without the reply where it is last."""
    last = run.flow.style in (Style.SCRIPT, Style.FORM)
    yield progress(CODE, "INPROGRESS")
    # An abort does not interrupt code.
    yield Pause(run.behaviour.latency)
    if run.fault is not None and run.fault is not Fault.DROP and run.fault is not Fault.EMPTY:
        yield from fail(run, CODE, OWN_CODE)
        return
    if last:
        yield from speak(run, [run.reply.text])
    inputs: Any = [{"variableName": "n", "variableValue": str(run.question)}] if run.flow.style is Style.FORM else ""
    code = {"inputVariables": inputs, "code": "return answer($flow.input);"}
    yield from done(run, CODE, input=code, output={"content": run.reply.text})
    if run.aborted:
        yield progress(REPLY, "TERMINATED")
        yield executed(run, entry(REPLY, previous=CODE[0], status="TERMINATED", error=CANCELLED))
        yield from ended(run, "TERMINATED", CANCELLED)
        return
    if not last:
        yield from say(run, REPLY)
    yield from finish(run)


def _stop(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps up to the node that waits for a person's decision."""
    human, before = _human(run.stops), run.nodes[-1]["nodeId"]
    asked: Json = {"messages": [], "humanInputEnableFeedback": True}
    run.action = asks(human, asked)
    yield progress(human, "INPROGRESS")
    yield Pause(run.behaviour.latency)
    yield SentEvent("token", run.reply.text)
    output = {"content": run.reply.text, "humanInputAction": run.action}
    history = [{"role": "assistant", "content": run.reply.text}]
    yield from stopped(
        run,
        human,
        entry(human, previous=before, status="STOPPED", input=asked, output=output, state={}, chatHistory=history),
    )


def _resume(run: FlowRun) -> Iterator[ScriptStep]:
    """Yield the steps that follow a person's decision."""
    decided, human = run.body["humanInput"], _human(run.stops - 1)
    run.nodes = [each for each in run.resumed or [] if each["status"] != "STOPPED"]
    before = run.nodes[-1]["nodeId"]
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
    yield from node(run, human, input=heard, output=output, previous=before, **history)
    if run.proceeds and run.stops < run.behaviour.stops:
        yield from _stop(run)
        return
    yield Pause(run.behaviour.latency)
    yield from say(run, REPLY if run.proceeds else REJECTED)
    yield from finish(run)


def _human(stops: int) -> Named:
    """Return the node that asks after so many stops."""
    return f"humanInputAgentflow_{stops}", f"Human Input {stops}", "humanInputAgentflow"
