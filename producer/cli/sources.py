"""What a flow's answer rests on, a line for each source document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentic_flywheel.doings import source_name, source_page
from producer.cli.safe_text import one_line

#: Sources that are shown; the rest is counted.
_SHOWN = 10
_NAME_LENGTH, _EXCERPT_LENGTH = 80, 100


def source_lines(sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what each source is called, its page, and how it begins."""
    for number, source in enumerate(sources[:_SHOWN], 1):
        name = one_line(source_name(source) or "a source without a name", _NAME_LENGTH)
        page = source_page(source)
        excerpt = one_line(str(source.get("pageContent") or ""), _EXCERPT_LENGTH)
        yield f"[{number}] {name}{f', page {page}' if page else ''}{f': {excerpt}' if excerpt else ''}"
    if len(sources) > _SHOWN:
        yield f"and {len(sources) - _SHOWN} more"
