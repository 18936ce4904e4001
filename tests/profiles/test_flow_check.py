"""``flows check`` says where Flowise would ignore the way in which a flow is told a profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends.flowise.listing import read_chatflow
from agentic_flywheel.registry import load_catalog
from agentic_flywheel.settings import Settings
from flowise_sandbox.behaviour import Behaviour, RateLimit
from flowise_sandbox.flows import SandboxFlow, Style
from flowise_sandbox.server import Sandbox
from producer.cli.flow_check import check_flows
from profiles.house import ProfileHouse


@pytest.mark.parametrize("enabled", [False, True])
async def test_a_way_that_flowise_ignores_is_warned_of(house: ProfileHouse, enabled: bool) -> None:
    house.behave(overrides=enabled)
    settings = house.settings.model_copy(update={"flowise_api_key": SecretStr("any")})

    reports = {each.flow: each for each in await check_flows(load_catalog(house.registry), settings)}

    assert reports["technical"].ignored == ()
    assert reports["by-system"].ignored == (() if enabled else ("systemMessage",))
    assert reports["by-vars"].ignored == (() if enabled else ("vars",))
    for key in ("by-system", "by-vars"):
        assert any("Flowise ignores" in remark for remark in reports[key].remarks) is not enabled


KINDS = """
operational_flows:
  plain: {id: 00000000-0000-4000-8000-0000000000a1, rate: 1/s}
  form: {id: 00000000-0000-4000-8000-0000000000a2}
  approval: {id: 00000000-0000-4000-8000-0000000000a3}
  limited: {id: 00000000-0000-4000-8000-0000000000a4, rate: 10/s}
  open: {id: 00000000-0000-4000-8000-0000000000a5}
"""


async def test_what_cannot_work_here_and_what_flowise_refuses_is_said(tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(KINDS)
    styles = {
        "plain": Style.LLM,
        "form": Style.FORM,
        "approval": Style.APPROVAL,
        "limited": Style.LLM,
        "open": Style.LLM,
    }
    catalog = load_catalog(registry)
    flows = [SandboxFlow(id=catalog.flows[key].id, style=style) for key, style in styles.items()]

    async with Sandbox(flows, api_key="admin") as sandbox:
        for key in ("plain", "limited", "open"):
            sandbox.behave(catalog.flows[key].id, Behaviour(rate_limit=RateLimit(calls=120, seconds=60)))
        settings = Settings(flowise_base_url=sandbox.url, registry=registry, flowise_api_key=SecretStr("admin"))
        told = {each.flow: each for each in await check_flows(catalog, settings)}
        unkeyed = await check_flows(catalog, settings.model_copy(update={"flowise_api_key": None}))

    assert (told["plain"].problems, told["plain"].remarks) == ((), ())
    assert told["form"].problems == ('it begins with a form: give the registry `form: [{"name": "name"}]`',)
    assert told["approval"].problems == ()
    assert told["approval"].remarks[0].startswith("it may stop and ask a person")
    for key in ("limited", "open"):
        (remark,) = told[key].remarks
        assert "refuses more than 120 calls in 60 s" in remark
        assert "`rate: 7200/h`" in remark
    assert all("an answer that comes after its time-out is not found" in each.remarks[0] for each in unkeyed)


@pytest.mark.parametrize(
    ("nodes", "start", "asks"),
    [
        (
            [{"data": {"name": "startAgentflow", "inputs": {"startInputType": "webhookTrigger"}}}],
            "webhookTrigger",
            False,
        ),
        ([{"data": {"name": "startAgentflow", "inputs": {"startInputType": ""}}}], "chatInput", False),
        ([{"data": {"inputs": {"agentTools": [{"agentSelectedToolRequiresHumanInput": True}]}}}], "chatInput", True),
        ([{"data": {"inputs": {"agentTools": [{"agentSelectedToolRequiresHumanInput": ""}]}}}], "chatInput", False),
        ([{"data": {"inputs": {"agentTools": ""}}}, 5, {"data": None}], "chatInput", False),
        ("oops", "chatInput", False),
    ],
)
def test_how_a_flow_is_used_is_read_from_its_nodes(nodes: object, start: str, asks: bool) -> None:
    flow = read_chatflow({"id": "x", "flowData": json.dumps({"nodes": nodes})})

    assert (flow.start, flow.asks_person) == (start, asks)
