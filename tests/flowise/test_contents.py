"""What a flow did for its answer: tools, steps, artifacts, sources. Bounded, without secrets, and said when cut."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentic_flywheel.backends.contents import MAX_ENTRIES, MAX_ENTRY, MAX_KIND
from agentic_flywheel.backends.flowise.answer import plain_answer, stored_answer
from agentic_flywheel.backends.flowise.frames import EXECUTED, FrameParser, StreamEvent
from agentic_flywheel.backends.flowise.news import MAX_NEWS, MAX_NEWS_TEXT
from agentic_flywheel.backends.flowise.streamed import StreamedAnswer
from agentic_flywheel.backends.models import FlowAnswer, FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Artifact, EventKind, FlowStep, ToolUse, Usage
from flowise.recordings import RECORDINGS

FLOW = Flow(key="f", id="f-1", domain="tests")


def plain(**fields: Any) -> FlowAnswer:
    return plain_answer(FLOW, json.dumps({"text": "t", "chatId": "c", **fields}).encode())


def tool(**fields: Any) -> dict[str, Any]:
    return {"tool": "search", "toolInput": {"q": "x"}, "toolOutput": "found", **fields}


def node(label: str, status: str = "FINISHED", *, kind: str = "llmAgentflow", **output: Any) -> dict[str, Any]:
    return {
        "nodeId": label.lower(),
        "nodeLabel": label,
        "status": status,
        "data": {"id": label.lower(), "name": kind, "output": {"content": "said", **output}},
    }


def told(*events: tuple[str, Any]) -> list[FlowNews]:
    collected = StreamedAnswer(FLOW, "c")
    return [news for name, data in events for news in collected.add(StreamEvent(name, data))]


# Tools and steps


def test_a_tool_says_what_it_was_given_what_it_gave_and_why_it_failed() -> None:
    answer = plain(usedTools=[tool(), tool(tool="shop", toolOutput="", error="out of stock"), None, "odd"])

    assert answer.tools == (
        ToolUse(name="search", input={"q": "x"}, output="found"),
        ToolUse(name="shop", input={"q": "x"}, output="", error="out of stock"),
    )


def test_a_step_tells_its_time_its_model_its_tokens_and_its_reasoning() -> None:
    thinking = node(
        "LLM 0",
        timeMetadata={"start": 1795422089028, "end": 1795422089039, "delta": 11},
        usageMetadata={"input_tokens": 2, "output_tokens": 3, "total_tokens": 5},
        responseMetadata={"model_name": "m"},
        reasonContent={"thinking": "six times seven", "thinkingDuration": 2},
        usedTools=[tool()],
    )
    failed = node("Shop", "ERROR", kind="toolAgentflow")
    failed["data"]["error"] = "out of stock"

    answer = plain(agentFlowExecutedData=[thinking, failed, {"nodeId": "odd", "data": 5}])

    assert answer.steps == (
        FlowStep(
            id="llm 0",
            name="LLM 0",
            kind="llmAgentflow",
            status="finished",
            started=datetime(2026, 11, 23, 8, 21, 29, 28000, tzinfo=UTC),
            elapsed=timedelta(milliseconds=11),
            usage=Usage(input_tokens=2, output_tokens=3, total_tokens=5, model="m"),
            reasoning="six times seven",
        ),
        FlowStep(id="shop", name="Shop", kind="toolAgentflow", status="error", error="out of stock"),
        FlowStep(id="odd", name="odd", status="finished"),
    )
    assert answer.tools[0].step == "llm 0"


@pytest.mark.parametrize(
    "times", [{}, {"start": "now", "delta": 1}, {"start": 10**20, "delta": 1}, {"start": 1, "delta": -1}]
)
def test_times_that_cannot_be_are_left_out(times: dict[str, Any]) -> None:
    (step,) = plain(agentFlowExecutedData=[node("LLM 0", timeMetadata=times)]).steps

    assert (step.started, step.elapsed) == (None, None)


def test_agents_of_a_chatflow_are_steps_with_what_they_were_told() -> None:
    agents = [
        {
            "agentName": "Boss",
            "nodeId": "s_0",
            "nodeName": "supervisor",
            "instructions": "ask the clerk",
            "messages": [],
        },
        {"agentName": "Clerk", "nodeId": "s_1", "messages": ["done", 5], "usedTools": [None, tool()]},
    ]

    answer = plain(agentReasoning=agents, usedTools=[tool()])

    assert [(step.name, step.kind, step.reasoning) for step in answer.steps] == [
        ("Boss", "supervisor", "ask the clerk"),
        ("Clerk", "", "done"),
    ]
    assert [(each.name, each.step) for each in answer.tools] == [("search", "s_1")]


def test_a_plain_call_of_an_agentflow_leaves_sources_and_artifacts_to_its_nodes() -> None:
    report = {"filePath": "FILE-STORAGE::r.csv", "fileName": "report"}
    nodes = [
        node("A", sourceDocuments=[{"pageContent": "p"}], artifacts=[{"type": "html", "data": "<b>"}]),
        node("B", sourceDocuments=[[{"pageContent": "q"}]], fileAnnotations=[report]),
    ]

    answer = plain(agentFlowExecutedData=nodes)

    assert [source["pageContent"] for source in answer.sources] == ["p", "q"]
    assert [(each.type, each.name, each.text) for each in answer.artifacts] == [
        ("html", "", "<b>"),
        ("file", "report", ""),
    ]


def test_a_stored_answer_has_what_its_message_keeps_as_text() -> None:
    message = {
        "id": "m",
        "role": "apiMessage",
        "chatId": "c",
        "content": "late",
        "usedTools": json.dumps([tool()]),
        "execution": {"executionData": json.dumps([node("LLM 0")])},
        "followUpPrompts": json.dumps(["more?"]),
    }

    found = stored_answer(FLOW, [message], "c")

    assert found is not None
    assert ([each.name for each in found.tools], [step.name for step in found.steps]) == (["search"], ["LLM 0"])
    assert found.follow_ups == ("more?",)


# Artifacts


def test_an_artifact_that_flowise_keeps_is_a_reference_to_it() -> None:
    (artifact,) = plain(artifacts=[{"type": "png", "data": "FILE-STORAGE::plot 1.png"}]).artifacts

    link = "/api/v1/get-upload-file?chatflowId=f-1&chatId=c&fileName=plot+1.png"
    assert artifact == Artifact(type="png", name="plot 1.png", link=link)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("data:image/png;base64," + "iVBO" * 250_000, Artifact(type="image/png", bytes_left_out=750_000)),
        ("iVBO" * 250_000, Artifact(type="png", bytes_left_out=750_000)),
        ("https://me:secret@example.test/a.png", Artifact(type="png", link="https://example.test/a.png")),
        ({"a": 1}, Artifact(type="png", text='{"a": 1}')),
        (None, Artifact(type="png")),
    ],
    ids=["data URL", "base64", "address", "object", "nothing"],
)
def test_the_bytes_of_an_artifact_are_never_kept(data: Any, expected: Artifact) -> None:
    assert plain(artifacts=[{"type": "PNG", "data": data}]).artifacts == (expected,)


def test_a_page_that_flowise_does_not_keep_is_cut_and_says_so() -> None:
    (artifact,) = plain(artifacts=[{"type": "html", "data": "<p>ä</p> " * 5_000}]).artifacts

    assert len(artifact.text) < MAX_ENTRY + 50
    assert artifact.text.endswith("characters more]")
    assert artifact.bytes_left_out is not None
    assert artifact.bytes_left_out > 28_000


# Bounds


def test_what_is_too_much_is_cut_and_the_answer_says_so() -> None:
    many = [tool()] * (MAX_ENTRIES + 5)
    large = [{"pageContent": "x" * 10_000}] * 100

    answer = plain(usedTools=many, sourceDocuments=large, followUpPrompts=["a?"])

    assert len(answer.tools) == MAX_ENTRIES
    assert 1 < len(answer.sources) == MAX_KIND // 10_018
    assert answer.warnings == (
        f"Of the flow's {MAX_ENTRIES + 5} tools, the first {MAX_ENTRIES} are kept: the rest is too much.",
        f"Of the flow's 100 sources, the first {len(answer.sources)} are kept: the rest is too much.",
    )


def test_a_text_that_is_too_long_says_how_much_is_missing() -> None:
    answer = plain(
        usedTools=[tool(toolOutput="y" * 20_000, toolInput={"q": ["z" * 20_000]})],
        sourceDocuments=[{"pageContent": "x" * 20_000}],
    )

    more = f"… [{20_000 - MAX_ENTRY} characters more]"
    assert answer.tools[0].output == "y" * MAX_ENTRY + more
    assert str(answer.tools[0].input).startswith('{"q":["zzz')
    assert str(answer.tools[0].input).endswith("characters more]")
    assert answer.sources[0]["pageContent"] == "x" * MAX_ENTRY + more


def test_names_are_one_short_line() -> None:
    (used,) = plain(usedTools=[tool(tool="a\n\tb " + "c" * 1_000)]).tools

    assert used.name.startswith("a b ccc")
    assert len(used.name) == 200


# Secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"apiKey": "abc", "q": "x"}, {"apiKey": "(hidden)", "q": "x"}),
        ('{"password": "abc", "q": 1}', {"password": "(hidden)", "q": 1}),
        ('{"q":1}', '{"q":1}'),
        ("ask https://me:abc@example.test/a", "ask https://example.test/a"),
        ({"q": ["key sk-abcdefgh12345678"]}, {"q": ["key (hidden)"]}),
        ("Bearer abc", "(hidden)"),
        ("x" * (MAX_ENTRY - 3) + " sk-abcdefgh12345678", "x" * (MAX_ENTRY - 3) + " (h… [17 characters more]"),
    ],
    ids=["named", "named in JSON", "nothing", "login", "key", "bearer", "at the cut"],
)
def test_secrets_in_what_a_tool_was_given_or_gave_are_hidden(given: Any, shown: Any) -> None:
    (used,) = plain(usedTools=[tool(toolInput=given, toolOutput=given)]).tools

    assert used.input == used.output == shown


# News


def test_a_recorded_stream_tells_what_the_agent_does_in_its_order() -> None:
    news = told(*FrameParser("f").feed(RECORDINGS["agent_tool_stream"].stream))

    start, agent = {"id": "startAgentflow_0", "name": "Start"}, {"id": "agentAgentflow_0", "name": "Agent 0"}
    used: dict[str, Any] = {"name": "calculator", "step": "Agent 0", "input": {"input": "6*7"}}
    assert news == [
        FlowNews(EventKind.STEP, {**start, "status": "running"}),
        FlowNews(EventKind.STEP, {**start, "status": "finished"}),
        FlowNews(EventKind.STEP, {**agent, "status": "running"}),
        FlowNews(EventKind.TOOL, {**used, "status": "running"}),
        FlowNews(EventKind.TOKEN, {"text": "echo: "}),
        FlowNews(EventKind.TOKEN, {"text": "6*7?"}),
        FlowNews(EventKind.TOOL, {**used, "status": "finished", "output": "42"}),
        FlowNews(
            EventKind.USAGE,
            {"input_tokens": 2, "cached_input_tokens": 0, "output_tokens": 2, "total_tokens": 4, "step": "Agent 0"},
        ),
        FlowNews(EventKind.STEP, {**agent, "status": "finished"}),
    ]


def test_every_kind_of_doing_is_told() -> None:
    news = told(
        ("nextAgent", "Clerk"),
        ("agentReasoning", [{"agentName": "Boss", "instructions": "go"}]),
        ("agentReasoning", [{"agentName": "Boss", "instructions": "go"}, {"agentName": "Clerk", "messages": []}]),
        ("usedTools", [tool(error="out of stock")]),
        ("sourceDocuments", [{"pageContent": "p" * 9_000}]),
        ("artifacts", [{"type": "png", "data": "FILE-STORAGE::a.png"}]),
        ("fileAnnotations", [{"filePath": "FILE-STORAGE::b.csv", "fileName": "b"}]),
        ("nextAgentFlow", {"nodeId": "n", "nodeLabel": "N", "status": "ERROR", "error": "no sk-abcdefgh12345678"}),
        ("usageMetadata", None),
    )

    shown = [(each.kind, each.data.get("name"), each.data.get("status")) for each in news]
    assert shown == [
        (EventKind.STEP, "Clerk", "running"),
        (EventKind.STEP, "Boss", "finished"),
        (EventKind.STEP, "Clerk", "finished"),
        (EventKind.TOOL, "search", "error"),
        (EventKind.SOURCE, None, None),
        (EventKind.ARTIFACT, "a.png", None),
        (EventKind.ARTIFACT, "b", None),
        (EventKind.STEP, "N", "error"),
    ]
    assert news[1].data["reasoning"] == "go"
    more = f"… [{9_000 - MAX_NEWS_TEXT} characters more]"
    assert news[4].data["source"] == {"pageContent": "p" * MAX_NEWS_TEXT + more}
    assert news[7].data["error"] == "no (hidden)"


def test_a_flow_in_a_loop_is_told_of_so_often_and_no_more() -> None:
    step = ("nextAgentFlow", {"nodeId": "n", "nodeLabel": "N", "status": "INPROGRESS"})

    news = told(*[step] * 1_000, ("usedTools", [tool()]))

    assert [each.kind for each in news] == [EventKind.STEP] * MAX_NEWS + [EventKind.TOOL]
    assert news[MAX_NEWS - 1].data == {"left_out": f"After {MAX_NEWS - 1} of them, no more are told."}


_CALLED = ("calledTools", [{"tool": "calculator", "toolInput": {"input": "6*7"}, "toolOutput": ""}])
_STOPPED = ("nextAgentFlow", {"nodeId": "agent", "nodeLabel": "Agent", "status": "STOPPED"})


@pytest.mark.parametrize("usage", [[("usageMetadata", {"input_tokens": 2, "output_tokens": 1})], []])
def test_a_tool_before_which_an_agent_stops_is_told_of_once(usage: list[tuple[str, Any]]) -> None:
    # Flowise 3.1.4 tells of it before it asks, and of all that the model called last at the node's end.
    asks = ("token", "\nAttempting to use tool:")
    news = told(_CALLED, asks, _CALLED, *usage, _STOPPED)

    assert [each.kind for each in news if each.kind is not EventKind.USAGE] == [
        EventKind.TOOL, EventKind.TOKEN, EventKind.STEP,
    ]  # fmt: skip


def test_a_tool_that_is_called_again_is_told_of_again() -> None:
    again = told(_CALLED, ("token", ""), _CALLED, ("token", "42"), ("usedTools", [tool()] * 2), ("calledTools", []))

    assert [each.kind for each in again] == [EventKind.TOOL] * 2 + [EventKind.TOKEN] + [EventKind.TOOL] * 2


def test_a_node_that_runs_again_has_the_time_of_each_run() -> None:
    collected = StreamedAnswer(FLOW, "c")
    running = StreamEvent("nextAgentFlow", {"nodeId": "loop", "nodeLabel": "Loop", "status": "INPROGRESS"})
    finished = StreamEvent("nextAgentFlow", {"nodeId": "loop", "nodeLabel": "Loop", "status": "FINISHED"})
    ran = json.dumps({"event": EXECUTED, "data": [node("Loop")] * 3}).encode()
    for event in (running, finished, running, finished, StreamEvent(EXECUTED, ran), StreamEvent("metadata", {})):
        collected.add(event)

    first, second, third = collected.answer().steps

    assert first.started is not None
    assert second.started is not None
    assert first.started < second.started
    assert (first.elapsed or timedelta()) > timedelta()
    assert third.started is None


def test_lists_that_several_nodes_stream_are_put_together() -> None:
    collected = StreamedAnswer(FLOW, "c")
    for name, data in (
        ("sourceDocuments", [{"pageContent": "p"}]),
        ("sourceDocuments", [{"pageContent": "q"}]),
        ("artifacts", [{"type": "png", "data": "FILE-STORAGE::a.png"}]),
        ("metadata", {"chatId": "c", "followUpPrompts": json.dumps(["more?"])}),
    ):
        collected.add(StreamEvent(name, data))

    answer = collected.answer()

    assert [source["pageContent"] for source in answer.sources] == ["p", "q"]
    assert answer.artifacts[0].link == "/api/v1/get-upload-file?chatflowId=f-1&chatId=c&fileName=a.png"
    assert answer.follow_ups == ("more?",)
