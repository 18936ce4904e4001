"""Numbers of a command line, for argparse: what cannot be measured is refused before anything starts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of at least ``least``. It raises ArgumentTypeError."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return number


def positive(text: str) -> float:
    """Read a number above 0. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def numbers_to(last: int) -> Callable[[str], set[int]]:
    """Return what reads numbers from 1 to ``last``, comma separated. It raises ArgumentTypeError."""

    def numbers(text: str) -> set[int]:
        found = {at_least(1)(number) for number in text.split(",")}
        if beyond := found - set(range(1, last + 1)):
            raise argparse.ArgumentTypeError(f"there is no {min(beyond)}: they are numbered from 1 to {last}")
        return found

    return numbers
