"""Draw where questions went before and where they go now: a ribbon for every pair of routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from producer.replay import wording
from producer.replay.report import svg
from producer.replay.report.svg import Markup
from producer.replay.summary import RouteChange

_WIDTH = 520.0
_BAR, _LEFT, _RIGHT = 9.0, 158.0, 362.0
_TOP, _GAP = 26.0, 12.0
_TALL, _NAME = 230.0, 24.0
#: Routes drawn on each side; the others are one.
_MOST = 8
_OTHER = "other routes"
_LONGEST = 22


def routes(changes: Sequence[RouteChange]) -> Markup:
    """Draw the routes; those that changed in colour, over those that stayed."""
    pairs = _few(changes)
    if not pairs:
        return Markup()
    total = sum(pairs.values())
    left, right = _sides(pairs)
    scale = max(60.0, _TALL - _TOP - _GAP * max(len(left), len(right))) / total
    height = _TOP + max(_tall(left, scale), _tall(right, scale)) + 6
    tops_left, tops_right = _stacked(left, scale, height), _stacked(right, scale, height)
    ribbons = _ribbons(pairs, dict(tops_left), dict(tops_right), scale)
    parts = [svg.text("before", _LEFT - 10, 14, "tick", "end"), svg.text("now", _RIGHT + 10, 14, "tick"), *ribbons]
    for (name, top), count in zip(tops_left.items(), left.values(), strict=True):
        parts += _node(name, count, _LEFT - _BAR, top, count * scale, "end")
    for (name, top), count in zip(tops_right.items(), right.values(), strict=True):
        parts += _node(name, count, _RIGHT, top, count * scale, "start")
    return svg.drawing(_WIDTH, height, "Routes before and now", *parts)


def _few(changes: Sequence[RouteChange]) -> Counter[tuple[str, str]]:
    """Return the pairs with no more than a few routes on each side: the most used ones, changed ones first."""
    weight: Counter[str] = Counter()
    for change in changes:
        for name in {change.before, change.after}:
            weight[name] += change.items + (1_000_000_000 if change.before != change.after else 0)
    kept = {name for name, _ in weight.most_common(_MOST)}
    pairs: Counter[tuple[str, str]] = Counter()
    for change in changes:
        before = change.before if change.before in kept else _OTHER
        after = change.after if change.after in kept else _OTHER
        pairs[before, after] += change.items
    return pairs


def _sides(pairs: Counter[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int]]:
    left: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for (before, after), count in pairs.items():
        left[before] += count
        right[after] += count
    # One order for both sides: what stays is a level ribbon, only what changed crosses.
    order = sorted({*left, *right}, key=lambda name: (-(left[name] + right[name]), name))
    return {n: left[n] for n in order if n in left}, {n: right[n] for n in order if n in right}


def _tall(side: dict[str, int], scale: float) -> float:
    """Return how tall a side is: a route of few questions still needs room for its name."""
    return sum(max(count * scale, _NAME) + _GAP for count in side.values()) - _GAP


def _stacked(side: dict[str, int], scale: float, height: float) -> dict[str, float]:
    top = _TOP + max(0.0, (height - _TOP - 6 - _tall(side, scale)) / 2)
    tops = {}
    for name, count in side.items():
        room = max(count * scale, _NAME)
        tops[name] = top + (room - count * scale) / 2
        top += room + _GAP
    return tops


def _ribbons(
    pairs: Counter[tuple[str, str]], left: dict[str, float], right: dict[str, float], scale: float
) -> list[Markup]:
    stayed, changed = [], []
    order_left, order_right = list(left), list(right)
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    # Ribbons leave a route in the order in which they arrive, and arrive in the order in which they left.
    at = dict(left)
    for pair in sorted(pairs, key=lambda pair: (order_left.index(pair[0]), order_right.index(pair[1]))):
        ends[pair] = (at[pair[0]], 0.0)
        at[pair[0]] += pairs[pair] * scale
    at = dict(right)
    for pair in sorted(pairs, key=lambda pair: (order_right.index(pair[1]), order_left.index(pair[0]))):
        ends[pair] = (ends[pair][0], at[pair[1]])
        at[pair[1]] += pairs[pair] * scale
    for (before, after), (from_y, to_y) in ends.items():
        count = pairs[before, after]
        thick = max(count * scale, 1.6)
        title = f"{before} → {after}: {wording.count(count, 'question')}"
        ribbon = _ribbon(from_y, to_y, thick)
        if before == after:
            stayed.append(svg.path(ribbon, "ribbon-stayed", title))
        else:
            changed.append(svg.path(ribbon, "ribbon-changed", title))
    return stayed + changed


def _ribbon(from_y: float, to_y: float, thick: float) -> str:
    middle = (_LEFT + _RIGHT) / 2
    return (
        f"M{_LEFT},{from_y:.1f}C{middle},{from_y:.1f} {middle},{to_y:.1f} {_RIGHT},{to_y:.1f}"
        f"L{_RIGHT},{to_y + thick:.1f}C{middle},{to_y + thick:.1f} {middle},{from_y + thick:.1f} "
        f"{_LEFT},{from_y + thick:.1f}Z"
    )


def _node(name: str, count: int, x: float, top: float, tall: float, anchor: str) -> list[Markup]:
    shown = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
    beside = x - 8 if anchor == "end" else x + _BAR + 8
    middle = top + tall / 2
    return [
        svg.bar(x, top, _BAR, max(tall, 1.6), "node", f"{name}: {wording.count(count, 'question')}", rounded=2),
        svg.text(shown, beside, middle - 1, "node-name", anchor),
        svg.text(wording.count(count), beside, middle + 12, "tick", anchor),
    ]
