"""Read traces back from the files of JSON lines that ``file_sink`` writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agentic_flywheel.broker.scores import Score
from agentic_flywheel.tracing.archive import Wish, latest
from agentic_flywheel.tracing.file_sink import read_lines
from agentic_flywheel.tracing.observation import Observation


class FileArchive:
    """Reads the traces that processes of this machine wrote. It has no scores: those are stored in Redis."""

    name = "the trace file"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def trace(self, query_id: str) -> tuple[list[Observation], list[Score]]:
        return await asyncio.to_thread(self._trace, query_id), []

    async def search(self, wish: Wish) -> list[Observation]:
        return await asyncio.to_thread(self._search, wish)

    def _trace(self, query_id: str) -> list[Observation]:
        found = read_lines(self._folder, containing=query_id.encode())
        return [seen for seen in found if seen.query_id == query_id]

    def _search(self, wish: Wish) -> list[Observation]:
        roots = (seen for seen in read_lines(self._folder, containing=b'"is_root": true') if seen.is_root)
        return latest([root for root in roots if wish.admits(root)], wish.limit)
