"""The live display of a replay: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.replay.progress import Progress

#: Seconds between two plain lines.
_EVERY = 5.0
#: Domains that are shown, the most frequent first.
_DOMAINS = 6


@asynccontextmanager
async def shown(screen: Screen, progress: Callable[[], Progress | None]) -> AsyncIterator[None]:
    """Show how a replay goes while the block runs, on stderr."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        # stdout stays as it is: it may be a file.
        with Live(
            console=console,
            get_renderable=lambda: _drawn(progress()),
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    writing = asyncio.create_task(_lines(screen, progress))
    try:
        yield
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _lines(screen: Screen, progress: Callable[[], Progress | None]) -> None:
    while True:
        await asyncio.sleep(_EVERY)
        if (now := progress()) is not None:
            screen.note(line_of(now))


def line_of(progress: Progress) -> str:
    """Return a plain line: done, failed, rate, time left, and the domains."""
    parts = [
        f"{progress.done:,} of {progress.total:,}",
        f"{progress.failed:,} failed",
        f"{progress.rate:.1f}/s",
        f"{_span(progress.left)} left",
    ]
    return f"{', '.join(parts)}; {_domains(progress)}".rstrip("; ")


def _drawn(progress: Progress | None) -> RenderableType:
    if progress is None:
        return Text("reading the questions …", "dim")
    figures = Text.assemble(
        (f"{progress.done:,}", "bold"),
        f" of {progress.total:,}   ",
        (f"{progress.failed:,} failed", "red" if progress.failed else "dim"),
        f"   {progress.rate:.1f}/s   {_span(progress.left)} left",
    )
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.done, width=60)
    return Group(bar, figures, Text(_domains(progress), "dim"))


def _domains(progress: Progress) -> str:
    counted = [f"{one_line(name, 40)} {count:,}" for name, count in progress.domains.most_common(_DOMAINS)]
    more = len(progress.domains) - _DOMAINS
    return ", ".join([*counted, f"{more} more"] if more > 0 else counted)


def _span(left: timedelta | None) -> str:
    return "?" if left is None else str(left)
