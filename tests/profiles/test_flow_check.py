"""``flows check`` says where Flowise would ignore the way in which a flow is told a profile."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from agentic_flywheel.registry import load_catalog
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
