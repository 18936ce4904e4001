"""``flywheel pause`` and ``resume``: hold a domain or a flow, and let it go on."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.control import hold, let_go
from producer.cli import options
from producer.cli.screen import Screen
from producer.client import AsyncProducer

Domain = Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", show_default=False)]
Flow = Annotated[str | None, typer.Option("--flow", metavar="FLOW", show_default=False)]


def pause(domain: Domain = None, flow: Flow = None, json: options.Json = False) -> None:
    """Hold a domain or a flow: its queries are accepted and wait. What runs is finished."""
    _carry_out(Screen(json), domain, flow, pausing=True)


def resume(domain: Domain = None, flow: Flow = None, json: options.Json = False) -> None:
    """Let a held domain or flow go on."""
    _carry_out(Screen(json), domain, flow, pausing=False)


def _carry_out(screen: Screen, domain: str | None, flow: str | None, *, pausing: bool) -> None:
    if (domain is None) == (flow is None):
        raise typer.BadParameter("give one of: --domain DOMAIN, --flow FLOW.")
    with screen.reporting():
        changed = asyncio.run(_change(domain, flow, pausing=pausing))
    if screen.json:
        screen.object({"domain": domain, "flow": flow, "paused": pausing, "changed": changed})
        return
    name = f"The domain {domain}" if domain is not None else f"The flow {flow}"
    if pausing:
        screen.line(f"{name} is paused." if changed else f"{name} was paused already.")
    else:
        screen.line(f"{name} goes on." if changed else f"{name} was not paused.")


async def _change(domain: str | None, flow: str | None, *, pausing: bool) -> bool:
    async with AsyncProducer(client="cli") as producer:
        if not pausing:  # also what has left the registry meanwhile
            return await let_go(producer.batch, domain=domain, flow=flow)
        if flow is not None:
            producer.catalog.flow(flow)
        if domain is not None:
            producer.catalog.in_domain(domain)
        return await hold(producer.batch, domain=domain, flow=flow)
