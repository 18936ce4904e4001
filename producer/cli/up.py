"""``flywheel up``: the stack on this machine, for as long as the command runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import Settings, load_settings, without_credentials
from producer.cli import options
from producer.cli.screen import Screen
from producer.stack import StackInfo, start_stack


def up(
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, metavar="N", help="Worker processes.")] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", metavar="NAME", help="Work on this queue only; repeatable.")
    ] = None,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Watch the tasks in Flower.")] = True,
    sandbox: Annotated[
        bool | None,
        typer.Option("--sandbox/--no-sandbox", help="A stand-in for Flowise; by default where none is set."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Start what is missing and keep it running: broker, Flowise sandbox, workers, Flower.

    Ctrl-C lets the workers finish what they have, then stops everything. Other commands find the stack by themselves.
    """
    screen = Screen(json)
    with screen.reporting():
        settings = load_settings()
        # A faulty registry is better refused here than in the log of a worker.
        load_catalog(find_registry(settings.registry))
        if sandbox is False and settings.flowise_base_url is None:
            raise InvalidSetting("FLOWISE_BASE_URL", "--no-sandbox needs the address of a Flowise")
        asyncio.run(_run(screen, settings, workers, queue or (), flower, sandbox))


async def _run(
    screen: Screen, settings: Settings, workers: int, queues: Sequence[str], flower: bool, sandbox: bool | None
) -> None:
    async with start_stack(
        settings, on_line=screen.note, workers=workers, queues=queues, flower=flower, sandbox=sandbox
    ) as stack:
        if screen.json:
            screen.object(stack.info.model_dump(mode="json"))
        else:
            screen.line()
            show_stack(screen, stack.info)
            screen.line()
            screen.line('Ready. In another terminal: flywheel ask "…". Ctrl-C stops it.')
        await stack.wait()


def show_stack(screen: Screen, info: StackInfo) -> None:
    """Print where everything is."""
    flowise = (
        f"{without_credentials(info.flowise_url)}{' (sandbox)' if info.sandbox else ''}" if info.flowise_url else ""
    )
    flower = f"{info.flower_url}  user {info.flower_user}, password {info.flower_password}" if info.flower_url else ""
    figures = "  ".join(f"{url} ({name})" for name, url in info.metrics_urls.items())
    screen.facts(
        [
            ("broker", without_credentials(info.redis_url)),
            ("flowise", flowise),
            ("flower", (flower, "bold") if flower else ""),
            ("metrics", figures),
        ]
    )
