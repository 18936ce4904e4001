"""Write SVG and HTML: elements whose every text and attribute is escaped, paths, and axes with round numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

Point = tuple[float, float]

#: Elements that have no end tag.
_VOID = frozenset({"meta", "input"})


class Markup(str):
    """Text that is markup already; any other text is escaped."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """Return an element of SVG or HTML. ``class_`` stands for class, ``rx=None`` leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if tag in _VOID else f"</{tag}>"
    return Markup(f"<{tag}{written}>{joined(children)}{end}")


def joined(pieces: Iterable[str]) -> Markup:
    """Return pieces one after the other; those that are no markup as text."""
    return Markup("".join(piece if isinstance(piece, Markup) else escape(piece) for piece in pieces))


def drawing(width: float, height: float, label: str, *children: str) -> Markup:
    """Return a picture that fits the width it is given; ``label`` is what a screen reader says."""
    return element(
        "svg", element("title", label), *children, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="plot"
    )


def text(content: str, x: float, y: float, class_: str = "", anchor: str = "start") -> Markup:
    """Return a text at a point."""
    return element("text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor)


def line(start: Point, end: Point, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str, title: str = "", *, rounded: float = 0) -> Markup:
    """Return a rectangle, with a title that shows when it is pointed at."""
    inside = [element("title", title)] if title else []
    return element("rect", *inside, x=x, y=y, width=width, height=height, rx=rounded or None, class_=class_)


def curve(points: Sequence[Point]) -> str:
    """Return the path data of a smooth curve through points from left to right that never overshoots one of them.

    A cubic whose slopes are limited where the data turn (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980).
    """
    if not points:
        return ""
    slopes = _slopes(points)
    steps = [f"M{_pair(points[0])}"]
    for ((x0, y0), (x1, y1)), (s0, s1) in zip(pairwise(points), pairwise(slopes), strict=True):
        third = (x1 - x0) / 3
        steps.append(
            f"C{_pair((x0 + third, y0 + third * s0))} {_pair((x1 - third, y1 - third * s1))} {_pair((x1, y1))}"
        )
    return "".join(steps)


def _slopes(points: Sequence[Point]) -> list[float]:
    between = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(points)]
    if not between:
        return [0.0] * len(points)
    inner = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in pairwise(between)]
    return [between[0], *inner, between[-1]]


def area(points: Sequence[Point], base: float) -> str:
    """Return the path data of the area between such a curve and a level line."""
    if not points:
        return ""
    return f"{curve(points)}L{_pair((points[-1][0], base))}L{_pair((points[0][0], base))}Z"


def path(data: str, class_: str, title: str = "") -> Markup:
    """Return a path."""
    inside = [element("title", title)] if title else []
    return element("path", *inside, d=data, class_=class_)


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15 …: where an axis ends."""
    step = 1.0
    while True:
        for factor in (1, 1.5, 2, 3, 4, 5, 6, 8):
            if factor * step >= value:
                return factor * step
        step *= 10


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"
