"""The form with which a flow begins, as Flowise stores it; and a flow's variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentic_flywheel.backends.flowise.forms import form_of
from agentic_flywheel.backends.flowise.request import prediction_body
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.catalog import Flow, FormField


def start_node(**inputs: Any) -> dict[str, Any]:
    return {"nodes": [{"id": "s", "data": {"name": "startAgentflow", "inputs": inputs}}], "edges": []}


def test_the_fields_of_a_form_are_read_from_the_flows_data() -> None:
    fields = [
        {"type": "string", "label": "Name", "name": "name", "addOptions": ""},
        {"type": "options", "label": "Size", "name": " size ", "addOptions": [{"option": "S"}, {"option": ""}, {}]},
        {"type": "number", "name": "count"},
        {"type": "boolean", "name": "gift"},
        {"type": "datePicker", "name": "due"},
        {"type": "string", "name": ""},
        "nothing",
    ]
    data = start_node(startInputType="formInput", formInputTypes=fields)

    read = form_of(json.dumps(data))

    assert read == form_of(data)
    assert read == (
        FormField(name="name"),
        FormField(name="size", type="options", options=("S",)),
        FormField(name="count", type="number"),
        FormField(name="gift", type="boolean"),
        FormField(name="due"),
    )


@pytest.mark.parametrize(
    "data",
    [
        start_node(startInputType="chatInput", formInputTypes=[{"name": "left over from before"}]),
        start_node(startInputType="formInput", formInputTypes=""),
        {"nodes": "oops"},
        "{",
        None,
    ],
)
def test_a_flow_that_begins_otherwise_has_no_form(data: Any) -> None:
    assert form_of(data) == ()


def test_a_query_overrides_one_variable_and_leaves_the_others() -> None:
    flow = Flow(key="f", id="f", domain="d", config={"topP": 1, "vars": {"city": "Oslo", "unit": "C"}})
    call = FlowCall(flow=flow, question="x", config={"vars": {"city": "Bergen"}})

    config = prediction_body(call)["overrideConfig"]

    assert config == {"topP": 1, "vars": {"city": "Bergen", "unit": "C"}}
