"""Compares the clock here with that of the broker, by which queries are dated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from producer.cli.check import Check

#: Seconds between the two from which a person is told. What a slow connection adds is less.
_TOLERATED = 5


def clock_of(about: Mapping[str, Any]) -> list[Check]:
    """Return what the two clocks differ in, where the server tells its own. ``about``: what INFO says now."""
    if "server_time_usec" not in about:
        return []
    ahead = time.time() - int(about["server_time_usec"]) / 1_000_000
    if abs(ahead) < _TOLERATED:
        return [Check(name="clock", state="ok", found="that of the broker, to some seconds")]
    found = f"{abs(ahead):.0f} s {'before' if ahead > 0 else 'behind'} the broker's"
    advice = (
        "have both set by NTP: queries are safe and time-outs right, but ages shown here and ends of tokens are off"
    )
    return [Check(name="clock", state="warning", found=found, advice=advice)]
