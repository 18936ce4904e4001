"""Traces read back from the file of JSON lines."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agentic_flywheel.scores import Score
from agentic_flywheel.tracing.archive import Wish, latest
from agentic_flywheel.tracing.file_sink import read_lines
from agentic_flywheel.tracing.observation import Observation


class FileArchive:
    """Reads what the processes of this machine wrote. Scores are not here; they are kept beside the queries."""

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
