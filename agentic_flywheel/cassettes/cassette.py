"""A cassette: a JSON file of recorded exchanges with Flowise. It finds the response to a request."""

from __future__ import annotations

import json
from collections import defaultdict
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from agentic_flywheel.cassettes.exchange import Exchange, Request
from agentic_flywheel.errors import RecordingMissing, ResultsUnreadable
from agentic_flywheel.whole_files import mode_of, replacing

_VERSION = 1


class Cassette:
    """The recorded exchanges of one test. Equal requests get their responses in the order in which they were recorded.

    A request that only looks (GET) gets the last one again when there are no more: how often something looks is a
    matter of timing. A question gets no answer twice.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, where there is one. Raises ResultsUnreadable where it is no cassette."""
        self.path = path
        self.exchanges: list[Exchange] = []
        self._played: defaultdict[str, int] = defaultdict(int)
        if not path.exists():
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["version"] != _VERSION:
                raise ResultsUnreadable(str(path), f"it is a cassette of version {stored['version']}")
            self.exchanges = [Exchange.model_validate(each) for each in stored["exchanges"]]
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as refused:
            raise ResultsUnreadable(str(path), f"it is no cassette ({type(refused).__name__})") from None

    def play(self, request: Request) -> Exchange:
        """Return the exchange that answers a request. Raises RecordingMissing."""
        found = [each for each in self.exchanges if each.request.key == request.key]
        place = self._played[request.key]
        if place < len(found):
            self._played[request.key] += 1
            return found[place]
        if found and request.method == "GET":
            return found[-1]
        raise RecordingMissing(self.path.name, _described(request, len(found)), self._nearest(request))

    def add(self, exchange: Exchange) -> None:
        """Keep a new exchange, which counts as played."""
        self.exchanges.append(exchange)
        self._played[exchange.request.key] += 1

    def save(self) -> None:
        """Write the file whole."""
        stored = {
            "version": _VERSION,
            "exchanges": [each.model_dump(mode="json", exclude_defaults=True) for each in self.exchanges],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path, mode_of(self.path, otherwise=0o644)) as file:
            # ASCII: a half of a character, which an answer that was cut off may end with, is an escape.
            file.write(f"{json.dumps(stored, indent=1)}\n".encode("ascii"))

    def _nearest(self, request: Request) -> str:
        known = {each.request.key: each.request for each in self.exchanges}
        near = get_close_matches(request.key, known, n=1, cutoff=0.3)
        return str(known[near[0]]) if near else ""


def _described(request: Request, recorded: int) -> str:
    again = f" for the {recorded + 1}. time: {recorded} recorded" if recorded else ""
    return f"{request}{again}"
