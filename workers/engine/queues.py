"""The order in which a worker takes from its queues: high before normal before low, without starving any there."""

from __future__ import annotations

from collections.abc import Iterable

#: The priority bands, the most urgent first. A queue belongs to the band whose suffix its name has; without one of
#: these suffixes it is in the normal band.
BANDS = (".high", "", ".low")
NORMAL, LOW = 1, 2
#: Turns after which the order of the bands repeats.
CADENCE = 8
#: The turn, counted from 0 within the cadence, in which the normal or the low band is taken from first. In all other
#: turns the high band is.
NORMAL_FIRST, LOW_FIRST = 3, 7
GOLDEN_RATIO = (1 + 5**0.5) / 2


def band_of(queue: str) -> int:
    """Return 0 for a queue of the high band, 1 for normal, 2 for low."""
    return 0 if queue.endswith(BANDS[0]) else LOW if queue.endswith(BANDS[LOW]) else NORMAL


def fetch_order(queues: Iterable[str], turn: int) -> list[list[str]]:
    """Return the queues of this turn as a list of bands, in the order in which to take from them.

    Within a band, another queue comes first in every turn, so that none is always served last.
    """
    bands: list[list[str]] = [[], [], []]
    for queue in sorted(set(queues)):
        bands[band_of(queue)].append(queue)
    first = {NORMAL_FIRST: NORMAL, LOW_FIRST: LOW}.get(turn % CADENCE)
    if first is not None:
        bands.insert(0, bands.pop(first))
    return [rotated(band, turn) for band in bands if band]


def list_first(turn: int) -> bool:
    """Return whether a queue's list gives before its backlog in this turn; in every second one, also of every cadence.

    Another irrational number than that of the rotation: so each queue comes first with either of the two.
    """
    return bool(turn * 2**0.5 % 1 < 0.5)


def rotated(band: list[str], turn: int) -> list[str]:
    """Return the band with another queue in front, each of them equally often.

    Multiples of an irrational number are spread evenly along every arithmetic progression (Weyl), so this also holds
    for every eighth turn. ``turn % len(band)`` would put the same queue in front in all of those turns whenever the
    cadence and the number of queues have a common divisor.
    """
    start = int(turn * GOLDEN_RATIO % 1 * len(band))
    return band[start:] + band[:start]
