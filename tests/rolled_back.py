"""Roll a broker's append-only file back, as a power loss with ``appendfsync everysec`` does, and read what it holds.

The file is cut at any byte. The server drops the command, or the script, that is cut in two.
"""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from processes import Valkey

from agentic_flywheel.broker import wire
from agentic_flywheel.models import TERMINAL

#: Where a server keeps its append-only file, and its snapshot.
AOF_FOLDER, SNAPSHOT = "appendonlydir", "dump.rdb"
#: Finds the id in the message of a task that classifies a query. Its headers stand before its properties.
_CLASSIFIED = re.compile(rf'"task": ?"{re.escape(wire.CLASSIFY)}", ?"id": ?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Kept:
    """What a file holds of queries."""

    #: State of each query with a record.
    states: dict[str, str] = field(default_factory=dict)
    #: Tasks of plain Celery clients that only a message knows: it is in a queue, or in a worker's hands.
    unrecorded: frozenset[str] = frozenset()
    #: Queries that a task of a plain Celery client is to follow.
    continued: frozenset[str] = frozenset()
    #: When each ended query ended, in milliseconds, and how many final events it has.
    ended: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def waiting(self) -> set[str]:
        """The queries that are still to end."""
        return {*self.unrecorded, *(query_id for query_id, state in self.states.items() if state not in TERMINAL)}


def roll_back(broker: Valkey, draw: random.Random, *, seconds: tuple[float, float] = (0.3, 2.0)) -> Kept:
    """Kill a broker, cut off what it wrote in the last seconds or less, start it again; return what its file kept."""
    length = length_of(broker)
    time.sleep(draw.uniform(*seconds))
    broker.kill()
    end = length_of(broker)
    cut(broker, draw.randint(min(length, end), end))
    kept = kept_in(broker.folder)
    broker.start()
    return kept


def length_of(broker: Valkey) -> int:
    """Return how many bytes a broker has written to its file since it was started or has rewritten it."""
    return _newest(broker).stat().st_size


def cut(broker: Valkey, length: int) -> None:
    """Cut off what a dead broker has written beyond a length."""
    with _newest(broker).open("r+b") as file:
        file.truncate(length)


def length_before(broker: Valkey, text: str) -> int:
    """Return where a broker's file first has a text. The script that wrote it is lost when the file is cut there."""
    return _newest(broker).read_bytes().index(text.encode())


def _newest(broker: Valkey) -> Path:
    files = (broker.folder / AOF_FOLDER).glob("*.incr.aof")
    return max(files, key=lambda file: int(file.name.split(".")[-3]))


def kept_in(folder: Path) -> Kept:
    """Return what the folder of a dead server holds: an append-only file, else a snapshot. A server reads a copy."""
    with tempfile.TemporaryDirectory() as copy:
        aof = (folder / AOF_FOLDER).is_dir()
        if aof:
            shutil.copytree(folder / AOF_FOLDER, Path(copy) / AOF_FOLDER)
        else:
            shutil.copy(folder / SNAPSHOT, copy)
        reader = Valkey(Path(copy), aof=aof).start()
        try:
            # Anybody may have put anything into a queue.
            with redis.Redis(port=reader.port, decode_responses=True, encoding_errors="replace") as client:
                return _kept(client)
        finally:
            reader.stop()


def _kept(client: Any) -> Kept:
    start = wire.record_key("")
    records = {key.removeprefix(start): client.hgetall(key) for key in client.scan_iter(f"{start}*", count=1000)}
    texts = list(client.hvals(wire.UNACKED))
    for queue in wire.bands(wire.CLASSIFY_QUEUE):
        for name in (queue, *(f"{queue}{wire.PRIORITY_MARK}{priority}" for priority in range(1, 10))):
            texts += client.lrange(name, 0, -1)
        texts += client.zrange(wire.backlog_key(queue), 0, -1)
    tasks = {json.loads(f'"{found[1]}"') for found in map(_CLASSIFIED.search, texts) if found}
    return Kept(
        states={query_id: record["state"] for query_id, record in records.items()},
        unrecorded=frozenset(tasks - records.keys()),
        continued=frozenset(query_id for query_id, record in records.items() if "continuation" in record),
        ended={
            query_id: (record["finished"], finals_of(client, query_id))
            for query_id, record in records.items()
            if "finished" in record
        },
    )


def finals_of(client: Any, query_id: str) -> int:
    """Return how many final events a query has; one that was answered when it was submitted has no events."""
    return sum(fields["kind"] == "final" for _, fields in client.xrange(wire.events_key(query_id)))


def continued_in(client: Any, queue: str) -> set[str]:
    """Return the queries whose answers are in the task messages of a queue."""
    bodies = [json.loads(base64.b64decode(json.loads(raw)["body"])) for raw in client.lrange(queue, 0, -1)]
    return {body[0][0]["query_id"] for body in bodies}
