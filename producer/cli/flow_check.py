"""Compare a registry's flows with their servers: is each there, can it be used, what will be ignored or refused."""

from __future__ import annotations

import asyncio

from agentic_flywheel.backends import FlowReport
from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.settings import Settings, key_of


async def check_flows(catalog: Catalog, settings: Settings) -> list[FlowReport]:
    """Ask the server of every active flow about it, all at once.

    ``settings`` name the Flowise of the flows that name no server; where they do not, those are left out.
    """
    backends = Backends(settings)
    asked = (flow for flow in catalog.active.values() if flow.server or settings.flowise_base_url)

    async def check(flow: Flow) -> FlowReport:
        try:
            return await backends.of(flow).examine(flow, api_key=key_of(flow, settings))
        except FlywheelError as error:
            return FlowReport(flow=flow.key, problems=(error.message,))

    try:
        return list(await asyncio.gather(*map(check, asked)))
    finally:
        await backends.close()
