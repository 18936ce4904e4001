"""``flywheel doctor``: check everything that the stack needs, and say how to repair what is wrong."""

from __future__ import annotations

import asyncio

import typer

from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.screen import Screen

_MARKS = {"ok": ("✓ ", "green"), "warning": ("! ", "yellow"), "failed": ("✗ ", "bold red")}


def doctor(json: options.Json = False) -> None:
    """Check Python, packages, settings, registry, broker, Flowise, workers, Flower and tracing.

    Ends with code 1 when something is missing. A warning alone ends with code 0.
    """
    from producer.cli.checkup import check_everything

    screen = Screen(json)
    checks = asyncio.run(check_everything())
    failed = any(check.state == "failed" for check in checks)
    if json:
        screen.object({"ok": not failed, "checks": [check.model_dump(mode="json") for check in checks]})
    else:
        for check in checks:
            screen.line(_MARKS[check.state], (f"{check.name:<10}", "bold"), check.found)
            if check.advice:
                screen.line(f"{'':<12}", (f"→ {check.advice}", "cyan"))
    if failed:
        raise typer.Exit(Exit.FAILED)
