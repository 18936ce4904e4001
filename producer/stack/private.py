"""Run a stack that nothing else uses, for as long as one command needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from agentic_flywheel.errors import StackRunning
from agentic_flywheel.settings import Settings
from producer.stack.launch import start_stack

#: Seconds after which the private stack of a killed process has certainly been cleared away.
_CLEARED_AWAY = 30.0


@asynccontextmanager
async def private_stack(settings: Settings, on_line: Callable[[str], None]) -> AsyncIterator[Settings]:
    """Run a stack with a broker of its own in the home of ``settings``; yield the settings that lead to it.

    ``on_line`` is called with each line of text that tells a person what happens. Raises what ``start_stack`` raises.
    """
    async with AsyncExitStack() as opened:
        give_up = time.monotonic() + _CLEARED_AWAY
        while True:
            try:
                stack = await opened.enter_async_context(
                    start_stack(settings, on_line=on_line, flower=False, private=True)
                )
                break
            except StackRunning:
                # That of a process that was killed: its guard is still stopping it.
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.5)
        yield settings.model_copy(update=stack.info.places)
