"""Numbers that remember how they were written, for where a text was meant: a version of 3.10 is not 3.1."""

from __future__ import annotations

from typing import Any


class Number(float):
    """A number with a point or an exponent."""

    text: str

    def __new__(cls, text: str, value: float | str | None = None) -> Number:
        number = super().__new__(cls, text if value is None else value)
        number.text = text
        return number


class Whole(int):
    """A whole number."""

    text: str

    def __new__(cls, text: str, value: int) -> Whole:
        number = super().__new__(cls, value)
        number.text = text
        return number


def as_text(value: Any) -> Any:
    """Return a number as the text that it was written as; anything else as it is."""
    if isinstance(value, Number | Whole):
        return value.text
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
