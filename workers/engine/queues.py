"""The order in which a worker takes from its queues: high before normal before low, and nobody starves."""

from __future__ import annotations

from collections.abc import Iterable

#: A queue's band is the end of its name; a name without one is normal.
BANDS = (".high", "", ".low")
NORMAL, LOW = 1, 2
#: Out of eight turns, normal goes first in one and low in another, however full the bands above them are.
CADENCE = 8
NORMAL_FIRST, LOW_FIRST = 3, 7
GOLDEN_RATIO = (1 + 5**0.5) / 2


def band_of(queue: str) -> int:
    """Return 0 for high, 1 for normal, 2 for low."""
    return 0 if queue.endswith(BANDS[0]) else LOW if queue.endswith(BANDS[LOW]) else NORMAL


def fetch_order(queues: Iterable[str], turn: int) -> list[list[str]]:
    """Return the queues of this turn in bands, the first to be taken from first.

    Within a band the queue that goes first moves on with every turn, so that none is always served last.
    """
    bands: list[list[str]] = [[], [], []]
    for queue in sorted(set(queues)):
        bands[band_of(queue)].append(queue)
    first = {NORMAL_FIRST: NORMAL, LOW_FIRST: LOW}.get(turn % CADENCE)
    if first is not None:
        bands.insert(0, bands.pop(first))
    return [rotated(band, turn) for band in bands if band]


def rotated(band: list[str], turn: int) -> list[str]:
    """Return the band with another queue in front, evenly often over all turns and over every n-th turn alike.

    Multiples of an irrational number are spread evenly along any arithmetic progression (Weyl); ``turn % len(band)``
    would put the same queue in front whenever the cadence and the number of queues have a common divisor.
    """
    start = int(turn * GOLDEN_RATIO % 1 * len(band))
    return band[start:] + band[:start]
