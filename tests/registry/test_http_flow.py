"""A `request` and an `answer` are understood when the registry is read, or refused with the place and the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentic_flywheel.registry.document import document_of
from agentic_flywheel.registry.http_flow import http_faults
from agentic_flywheel.registry.reading import reading_of

GOOD_REQUEST: dict[str, Any] = {"path": "/ask", "body": {"q": "{{question}}", "id": "{{chat_id}}"}}
GOOD_ANSWER: dict[str, Any] = {"text": "/answer"}
STREAM: dict[str, Any] = {"token": {"when": {"/t": "part"}, "at": "/x"}, "end": {"event": ["end", "done"]}}
LATE: dict[str, Any] = {
    "request": {"method": "GET", "path": "/answers?id={{chat_id}}", "headers": {"X-Key": "{{key}}"}},
    "where": {"/id": "{{chat_id}}", "/done": True},
    "text": "/answer",
}


def faults(request: Any = GOOD_REQUEST, answer: Any = GOOD_ANSWER) -> dict[str, str]:
    """Return what is wrong, by its place within the flow."""
    given = {"request": request, "answer": answer}
    return {".".join(map(str, where)): reason for where, reason in http_faults(given, ())}


def test_what_is_right_is_taken() -> None:
    request = {
        **GOOD_REQUEST,
        "method": "PUT",
        "headers": {"X-Key": "Token {{key}}", "X-Chat": "{{chat_id}}"},
        "abort": {"path": "/stop/{{chat_id}}"},
        "probe": {"path": "/health", "version": "/version"},
    }
    answer = {
        "text": "/a~1b/0",
        "data": "",
        "usage": {"input": "/u/in", "output": "/u/out"},
        "model": "/model",
        "sources": "/sources",
        "error": "/error",
        "statuses": {500: "retry", 409: "wait"},
        "stream": {**STREAM, "whole": {"when": {"/t": ["end", None]}}, "error": {"event": "error", "at": "/why"}},
        "late": LATE,
    }

    assert faults(request, answer) == {}
    assert faults({"path": "/echo", "body": "{{question}}"}, {"format": "text"}) == {}
    assert faults({"path": "", "method": "GET"}, {"text": ""}) == {}


@pytest.mark.parametrize(
    ("request_", "place", "reason"),
    [
        (None, "request", "is missing: a mapping: `path`"),
        ("text", "request", "should be a mapping: `path`"),
        ({"path": "ask"}, "request.path", "should be a path that begins with `/`"),
        ({"path": "http://elsewhere/x"}, "request.path", "should be a path that begins with `/`"),
        ({"path": "/a b"}, "request.path", "should be a path that begins with `/`"),
        ({"path": "/a#b"}, "request.path", "should be a path that begins with `/`"),
        ({"path": "/a/../b"}, "request.path", "has a step `.` or `..`"),
        ({"path": "/{{history}}"}, "request.path", "has {{history}}, which stands for nothing here"),
        ({"path": "/x?k={{key}}"}, "request.path", "has {{key}}, which stands in headers alone"),
        ({"method": "FETCH"}, "request.method", "should be GET, POST"),
        ({"method": "GET", "body": {}}, "request.body", "goes with no GET"),
        ({"url": "/x"}, "request.url", "is not a key that is read here: a mapping: `path`"),
        ({"headers": {"X Y": "1"}}, "request.headers.X Y", "is no name of a header"),
        ({"headers": {"Host": "x"}}, "request.headers.Host", "is not given by hand"),
        ({"headers": {"X": "ä"}}, "request.headers.X", "holds a character that no header can carry"),
        ({"headers": {"X": "1\r\nY: 2"}}, "request.headers.X", "holds a character that no header can carry"),
        ({"headers": {"X": "{{question}}"}}, "request.headers.X", "has {{question}}, which stands for nothing here"),
        ({"headers": {"X": "${TOKEN}"}}, "request.headers.X", "variables stand in the headers of the server"),
        ({"headers": {"X": 1}}, "request.headers.X", "should be a mapping of names to texts"),
        ({"body": {"a": ["{{qestion}}"]}}, "request.body.a.0", "{{qestion}}, which stands for nothing here; these do:"),
        ({"body": {"a": "{{question"}}, "request.body.a", "has `{{` or `}}` without the other"),
        ({"body": {"a": '{"b": {"c": "{{question}}"}}'}}, "request.body.a", "has `{{` or `}}` without the other"),
        ({"body": {"a": "{{config.}}"}}, "request.body.a", "which stands for nothing here"),
        ({"body": {"{{question}}": 1}}, "request.body.{{question}}", "has a placeholder in its name"),
        ({"body": {"a": "files: {{uploads}}"}}, "request.body.a", "give it a member of its own"),
        ({"body": {"a": float("inf")}}, "request.body.a", "should be a finite number"),
        ({"body": {"a": "{{key}}"}}, "request.body.a", "has {{key}}, which stands in headers alone"),
        ({"probe": {"path": "/{{question}}"}}, "request.probe.path", "has {{question}}, which stands for nothing here"),
        ({"probe": {"path": "/../x"}}, "request.probe.path", "has a step `.` or `..`"),
        ({"abort": {"path": "/{{question}}"}}, "request.abort.path", "has {{question}}, which stands for nothing here"),
        ({"probe": {"path": "health"}}, "request.probe.path", "should be a path that begins with `/`"),
        ({"probe": {"path": "/x", "version": "v"}}, "request.probe.version", "should be a JSON pointer"),
    ],
)
def test_a_request_that_cannot_be_sent_is_refused(request_: Any, place: str, reason: str) -> None:
    found = faults(request_)
    assert list(found) == [place]
    assert reason in found[place]


@pytest.mark.parametrize(
    ("answer", "place", "reason"),
    [
        ({}, "answer", "needs `text` or `data`"),
        ({"text": "answer"}, "answer.text", "should be a JSON pointer"),
        ({"text": "/a~2"}, "answer.text", "should be a JSON pointer"),
        ({"text": 7}, "answer.text", "should be a JSON pointer"),
        ({"text": "/a", "usage": "/u"}, "answer.usage", "should be a mapping of pointers: `input`"),
        ({"text": "/a", "usage": {"input": "u"}}, "answer.usage.input", "should be a JSON pointer"),
        (
            {"text": "/a", "usage": {"in": "/u"}},
            "answer.usage.in",
            "is not a key that is read here: a mapping of pointers",
        ),
        ({"text": "/a", "format": "xml"}, "answer.format", "should be json or text"),
        ({"text": "/a", "format": "text"}, "answer.format", "is text: the whole body is the answer"),
        ({"text": "/a", "statuses": {99: "retry"}}, "answer.statuses.99", "should be a mapping of statuses from 200"),
        ({"text": "/a", "statuses": {500: "later"}}, "answer.statuses.500", "should be a mapping of statuses from 200"),
        ({"stream": {"token": STREAM["token"]}}, "answer.stream", "needs `end` or `whole`"),
        ({"text": "/a", "stream": {"end": STREAM["end"]}}, "answer.stream", "needs `token` or `whole`"),
        ({"stream": {**STREAM, "end": {"at": "/x"}}}, "answer.stream.end", "needs `when` or `event`"),
        (
            {"stream": {**STREAM, "end": {"when": {}}}},
            "answer.stream.end.when",
            "should be a mapping of pointers to values",
        ),
        ({"stream": {**STREAM, "end": {"when": {"t": 1}}}}, "answer.stream.end.when.t", "should be a JSON pointer"),
        ({"stream": {**STREAM, "end": {"event": 7}}}, "answer.stream.end.event", "should be the name of an event"),
        (
            {"stream": {**STREAM, "stop": {}}},
            "answer.stream.stop",
            "is not a key that is read here: a mapping: `token`",
        ),
        (
            {"stream": {**STREAM, "error": {"on": "x"}}},
            "answer.stream.error.on",
            "is not a key that is read here: a mapping: `when`",
        ),
        (
            {"text": "/a", "late": {**LATE, "where": {"/done": True}}},
            "answer.late.where",
            "needs a value with {{chat_id}}",
        ),
        (
            {"text": "/a", "late": {**LATE, "where": {"/i": "{{session_id}}{{chat_id}}"}}},
            "answer.late.where./i",
            "has {{session_id}}",
        ),
        (
            {"text": "/a", "late": {"request": LATE["request"], "text": "/a"}},
            "answer.late.where",
            "is missing: a mapping of pointers",
        ),
        ({"text": "/a", "late": {**LATE, "text": None}}, "answer.late", "needs `text` or `data`"),
    ],
)
def test_an_answer_that_cannot_be_found_is_refused(answer: Any, place: str, reason: str) -> None:
    found = faults(answer=answer)
    assert list(found) == [place]
    assert reason in found[place]


def test_a_late_answer_needs_an_id_that_was_sent() -> None:
    found = faults({"body": {"q": "{{question}}"}}, {"text": "/a", "late": LATE})

    assert list(found) == ["answer.late.where"]
    assert "which the flow's `request` does not send" in found["answer.late.where"]


def test_every_fault_is_told_at_once() -> None:
    found = faults({"path": "ask", "method": "FETCH"}, {"text": "answer", "error": "e"})

    assert set(found) == {"request.path", "request.method", "answer.text", "answer.error"}


REGISTRY = """\
servers:
  mine: {address: "http://127.0.0.1:8000", backend: http}
operational_flows:
  good:
    server: mine
    request: {path: /ask, body: {q: "{{question}}"}}
  bad:
    server: mine
    request:
      path: /ask
      body:
        q: "{{question}}"
        who: "{{owner}}"
    answer:
      text: answer
  filled-in:
    server: mine
    form: [{name: size}]
    request: {path: /ask, body: {q: "{{question}}"}}
"""


def test_a_registry_names_the_line_of_each_fault() -> None:
    reading = reading_of(document_of(Path("flows.yaml"), REGISTRY.encode()))

    assert [(each.line, each.key) for each in reading.faults] == [
        (13, "operational_flows.bad.request.body.who"),
        (15, "operational_flows.bad.answer.text"),
        (18, "operational_flows.filled-in.form"),
    ]
    assert "{{owner}}, which stands for nothing here" in reading.faults[0].message
    assert "should be a JSON pointer" in reading.faults[1].message
    assert "is filled in for nothing" in reading.faults[2].message


def test_a_flow_over_http_needs_no_more_than_a_request() -> None:
    text = REGISTRY[: REGISTRY.index("  bad:")]
    reading = reading_of(document_of(Path("flows.yaml"), text.encode()))

    assert reading.faults == ()
    assert reading.catalog is not None
    flow = reading.catalog.flows["good"]
    assert (flow.id, flow.backend, flow.answer) == ("good", "http", None)


@pytest.mark.parametrize(
    ("memory", "body", "said"),
    [
        ("flowise", "{q: '{{question}}'}", "no place for {{session_id}} or {{history}}, so questions in a session"),
        ("history", "{q: '{{question}}', s: '{{session_id}}'}", "no place for {{history}}, so questions in a session"),
        ("none", "{q: '{{question}}'}", None),
        ("flowise", "{q: '{{question}}', s: '{{session_id}}'}", None),
        ("flowise", "{q: '{{question}}', said: '{{history}}'}", None),
    ],
)
def test_a_flow_that_cannot_be_told_of_its_conversation_is_remarked_on(
    memory: str, body: str, said: str | None
) -> None:
    text = f"""
servers: {{s: {{address: 'http://127.0.0.1:8000', backend: http}}}}
operational_flows:
  f: {{server: s, description: Answers, memory: {memory}, request: {{path: /a, body: {body}}}}}
"""
    reading = reading_of(document_of(Path("flows.yaml"), text.encode()))
    remarks = [remark for remark in reading.warnings if remark.key.endswith(".memory")]
    assert len(remarks) == (said is not None)
    assert said is None or said in remarks[0].text
