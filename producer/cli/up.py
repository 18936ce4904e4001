"""``flywheel up``: the stack on this machine, for as long as the command runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import Settings, load_settings
from agentic_flywheel.stack import StackInfo
from producer.cli import options
from producer.cli.screen import Screen
from producer.stack import start_stack


def up(
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, metavar="N", help="Worker processes.")] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", metavar="NAME", help="Work on this queue only; repeatable.")
    ] = None,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Watch the tasks in Flower.")] = True,
    gateway: Annotated[bool, typer.Option("--gateway/--no-gateway", help="Serve HTTP: our API, MCP and more.")] = True,
    sandbox: Annotated[
        bool | None,
        typer.Option("--sandbox/--no-sandbox", help="A stand-in for Flowise; by default where none is set."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Start what is missing and keep it running: broker, Flowise sandbox, workers, Flower, HTTP gateway.

    Ctrl-C lets the workers finish what they have, then stops everything. Other commands find the stack by themselves.
    """
    screen = Screen(json)
    with screen.reporting():
        settings = load_settings()
        # A faulty registry is better refused here than in the log of a worker.
        load_catalog(find_registry(settings.registry))
        if sandbox is False and settings.flowise_base_url is None:
            raise InvalidSetting("FLOWISE_BASE_URL", "--no-sandbox needs the address of a Flowise")
        asyncio.run(_run(screen, settings, workers, queue or (), flower, sandbox, gateway))


async def _run(
    screen: Screen,
    settings: Settings,
    workers: int,
    queues: Sequence[str],
    flower: bool,
    sandbox: bool | None,
    gateway: bool,
) -> None:
    async with start_stack(
        settings,
        on_line=screen.note,
        workers=workers,
        queues=queues,
        flower=flower,
        sandbox=sandbox,
        gateway=gateway,
    ) as stack:
        if screen.json:
            screen.object(shown_stack(stack.info))
        else:
            screen.line()
            show_stack(screen, stack.info)
            screen.line()
            screen.line('Ready. In another terminal: flywheel ask "…". Ctrl-C stops it.')
        await stack.wait()


def shown_stack(info: StackInfo) -> dict[str, Any]:
    """Return where everything is, as JSON. Of the passwords only those that this stack has made are in it."""
    broker = info.redis_url if info.broker_started else without_secrets(info.redis_url)
    flowise = without_secrets(info.flowise_url) if info.flowise_url else None
    return {**info.model_dump(mode="json"), "redis_url": broker, "flowise_url": flowise}


def show_stack(screen: Screen, info: StackInfo) -> None:
    """Print where everything is."""
    flowise = f"{without_secrets(info.flowise_url)}{' (sandbox)' if info.sandbox else ''}" if info.flowise_url else ""
    flower = f"{info.flower_url}  user {info.flower_user}, password {info.flower_password}" if info.flower_url else ""
    password = urlsplit(info.redis_url).password if info.broker_started else None
    broker = f"{without_secrets(info.redis_url)}{f'  password {password}' if password else ''}"
    figures = "  ".join(f"{url} ({name})" for name, url in info.metrics_urls.items())
    screen.facts(
        [
            ("broker", (broker, "bold") if password else broker),
            ("flowise", flowise),
            ("flower", (flower, "bold") if flower else ""),
            ("api", info.api_url or ""),
            ("metrics", figures),
        ]
    )
