"""``flywheel pause`` and ``resume``: pause a domain or a flow, and let it go on; have a query go on with a decision."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker import control
from agentic_flywheel.given import asker_of
from agentic_flywheel.stops import Decision
from producer.cli import options
from producer.cli.screen import Screen
from producer.client import AsyncProducer
from producer.connections import SUBMIT_PATIENCE

Domain = Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", show_default=False)]
Flow = Annotated[str | None, typer.Option("--flow", metavar="FLOW", show_default=False)]


def pause(domain: Domain = None, flow: Flow = None, json: options.Json = False) -> None:
    """Pause a domain or a flow: its queries are accepted and wait. What runs is finished."""
    _carry_out(Screen(json), domain, flow, pausing=True)


def resume(
    query_id: Annotated[str | None, typer.Argument(metavar="[QUERY_ID]", show_default=False)] = None,
    proceed: Annotated[bool, typer.Option("--proceed", help="Let the query's flow do what it asks for.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Do not.")] = False,
    feedback: Annotated[str, typer.Option("--feedback", metavar="TEXT", help="Say this to the flow.")] = "",
    stop: Annotated[
        int | None,
        typer.Option("--stop", min=1, metavar="NUMBER", help="Which of its stops: needed after the first one."),
    ] = None,
    domain: Domain = None,
    flow: Flow = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Decide what a query's flow asks a person; or let a held domain or flow go on.

    The query goes on under the same id: `flywheel wait` shows its answer. The same decision twice is one.
    """
    if query_id is None:
        if proceed or reject or feedback or stop is not None:
            raise typer.BadParameter("a decision needs the id of the query: `flywheel waiting` lists those that wait.")
        _carry_out(Screen(json), domain, flow, pausing=False)
        return
    if proceed == reject or domain is not None or flow is not None:
        raise typer.BadParameter("give a query's id with one of: --proceed, --reject.")
    screen = Screen(json, owner, user)
    decision: Decision = "proceed" if proceed else "reject"
    with screen.reporting():
        number = asyncio.run(_decide(asker_of(owner, user), query_id, decision, feedback, stop))
    if screen.json:
        screen.object({"query_id": query_id, "stop": number, "decision": decision})
    else:
        next_step = screen.runnable(f"  goes on: `flywheel wait {query_id}`")
        screen.line(f"{decision}  ", query_id, (next_step, "dim"))


async def _decide(asker: Asker, query_id: str, decision: Decision, feedback: str, stop: int | None) -> int:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli", patience=SUBMIT_PATIENCE) as producer:
        return await producer.resume(query_id, decision, feedback=feedback or None, stop=stop)


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
            return await control.resume(producer.batch, domain=domain, flow=flow)
        if flow is not None:
            producer.catalog.flow(flow)
        if domain is not None:
            producer.catalog.in_domain(domain)
        return await control.pause(producer.batch, domain=domain, flow=flow)
