"""The sources of questions. All are read as streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.errors import UnusableSource
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import stack_settings
from producer.replay.files import read_named, read_objects
from producer.replay.items import ReplayItem
from producer.replay.moves import Conversations, moved
from producer.replay.own import read_letters, read_records
from producer.replay.reads import NO_HINTS, Hints, Read
from producer.replay.sample import ItemSample
from producer.replay.wanted import Wanted

Kind = Literal["file", "stdin", "objects", "records", "dead-letters", "dataset", "traces"]
#: These can be filtered; a file is as it is.
FILTERED: tuple[Kind, ...] = ("records", "dead-letters", "traces")
#: The bytes of these are read as text.
TEXTS: tuple[Kind, ...] = ("file", "stdin")

Objects = Iterable[str | dict[str, Any] | ReplayItem]


@dataclass(frozen=True)
class Source:
    """One source of questions, not opened yet."""

    kind: Kind
    #: A file's name, a dataset's name, `-` for stdin.
    name: str = ""
    wanted: Wanted = field(default_factory=Wanted)
    objects: Objects = ()
    #: Of a file or stdin: what it does not say itself.
    told: Hints = NO_HINTS

    @property
    def title(self) -> str:
        """The source in words."""
        if self.kind in ("file", "dataset"):
            # A file's name may be bytes that are no text.
            name = self.name.encode(errors="replace").decode()
            return name if self.kind == "file" else f"dataset:{name}"
        given = self.wanted.model_dump(exclude_defaults=True, exclude={"query_ids"})
        return " ".join([self.kind, *(f"{name}={_typed(value)}" for name, value in given.items())])


def _typed(value: Any) -> str:
    """Return the value of a filter as it is given on the command line."""
    if not isinstance(value, timedelta):
        return str(value)
    seconds = value.total_seconds()
    units = (("d", 86_400), ("h", 3_600), ("m", 60))
    return next((f"{seconds / unit:.0f}{name}" for name, unit in units if seconds % unit == 0), f"{seconds:g}s")


def source_named(name: str, wanted: Wanted, told: Hints = NO_HINTS) -> Source:
    """Return the source that a person names: `records`, `dead-letters`, `traces`, `dataset:NAME`, `-`, or a file.

    ``told`` goes for a file and stdin.
    """
    for kind in FILTERED:
        if name == kind:
            return Source(kind, wanted=wanted)
    if name.startswith("dataset:"):
        return Source("dataset", name.removeprefix("dataset:"), wanted)
    return Source("stdin" if name == "-" else "file", name, wanted, told=told)


async def read_source(source: Source, settings: Settings, moves: Mapping[str, str]) -> AsyncIterator[Read]:
    """Yield what the source holds, or a sample of it; with ``moves``, what those flows have answered.

    Raises UnusableSource, UnknownFlow, InvalidRegistry, BrokerUnavailable.
    """
    reads = _whole(source, settings, moves)
    if moves:
        reads = moved(reads, moves, source.title)
    if source.wanted.sample is None:
        async for read in reads:
            yield read
        return
    sample = ItemSample(source.wanted.sample)
    async for read in reads:
        if isinstance(read, ReplayItem):
            sample.add(read)
        else:
            yield read
    for item in sample.items():
        yield item


async def _whole(source: Source, settings: Settings, moves: Mapping[str, str]) -> AsyncIterator[Read]:
    catalog = load_catalog(find_registry(settings.registry)) if moves else None
    for new in moves.values():
        assert catalog is not None
        catalog.flow(new)
    match source.kind:
        case "file" | "stdin":
            lines = read_named(source.name, source.told)
        case "objects":
            lines = read_objects(source.objects)
        case "dataset" | "traces":
            # Imported where it is needed: the SDK takes a second to import.
            from producer.replay import langfuse_source

            found = (
                langfuse_source.read_dataset(settings, source.name)
                if source.kind == "dataset"
                else langfuse_source.read_traces(settings, source.wanted)
            )
            async for read in found:
                yield read
            return
        case "records" | "dead-letters":
            here = stack_settings(settings)
            batch = Batch(connect(here.redis_url, prefix=here.key_prefix))
            try:
                conversations = Conversations(batch, catalog, moves) if catalog is not None else None
                async for item in (
                    read_records(batch, source.wanted, conversations)
                    if source.kind == "records"
                    else read_letters(batch, source.wanted)
                ):
                    yield item
            finally:
                await batch.close()
            return
    async for read in _steadily(source, lines):
        yield read


async def _steadily(source: Source, lines: Iterator[Read]) -> AsyncIterator[Read]:
    """Yield lines and let other tasks run in between, so that a signal interrupts the reading of a million lines."""
    try:
        for number, read in enumerate(lines):
            if number % 500 == 0:
                await asyncio.sleep(0)
            yield read
    except OSError as refused:
        raise UnusableSource(source.title, refused.strerror or str(refused)) from None
    except ValueError as refused:
        raise UnusableSource(source.title, str(refused)) from None
