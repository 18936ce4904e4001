"""Draw a summary's distributions and its timeline as SVG, and an interval as a small whisker."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from producer.replay import wording
from producer.replay.report import svg
from producer.replay.report.svg import Markup, Point
from producer.replay.sampling import BINS, Moment
from producer.replay.statistics import Estimate, Finding
from producer.replay.summary import SIMILARITY_BINS, Answers, Spread, Summary

_WIDTH, _HEIGHT = 520.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 512.0, 34.0, 198.0
#: Width of the labels of the two percentiles.
_LABEL = 130.0
#: A bin's count is spread over its neighbours: a smooth curve of the same area.
_KERNEL = (1, 3, 4, 3, 1)


def durations(summary: Summary) -> Markup:
    """Draw how durations are distributed before and after, on a logarithmic axis."""
    before, after = _smooth(summary.durations.before), _smooth(summary.durations.after)
    # A few that took far longer are in the table; the picture shows where nearly all are.
    top = max(max(before), max(after)) or 1.0
    used = [place for place in range(BINS) if max(before[place], after[place]) > 0.004 * top]
    if not used:
        return Markup()
    first, last = max(0, used[0] - 1), min(BINS, used[-1] + 2)

    def x_of(place: float) -> float:
        return _LEFT + (place - first) / (last - first) * (_RIGHT - _LEFT)

    def points(shares: Sequence[float]) -> list[Point]:
        return [
            (x_of(place + 0.5), _BOTTOM - shares[place] / top * (_BOTTOM - _TOP - 22)) for place in range(first, last)
        ]

    parts = _log_axis(first, last, x_of)
    if any(before):
        parts += [svg.path(svg.area(points(before), _BOTTOM), "before-area")]
        parts += [svg.path(svg.curve(points(before)), "before-line")]
    parts += [
        svg.path(svg.area(points(after), _BOTTOM), "after-area"),
        svg.path(svg.curve(points(after)), "after-line"),
    ]
    parts += _percentiles(summary.speed, first, last, x_of)
    return svg.drawing(_WIDTH, _HEIGHT, "How long answers took, before and after", *parts)


def _smooth(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    if not total:
        return [0.0] * BINS
    half = len(_KERNEL) // 2
    padded = [0] * half + list(counts) + [0] * half
    weights = sum(_KERNEL)
    return [
        sum(weight * padded[place + shift] for shift, weight in enumerate(_KERNEL)) / weights / total
        for place in range(BINS)
    ]


def _log_axis(first: int, last: int, x_of: Callable[[float], float]) -> list[Markup]:
    parts = [svg.line((_LEFT, _BOTTOM), (_RIGHT, _BOTTOM), "axis")]
    for decade in range(7):
        for factor in (1, 2, 5):
            place = _place(factor * 10.0**decade)
            if not first <= place <= last or (factor != 1 and last - first > 48):
                continue
            x = x_of(place)
            if _LEFT + 14 < x < _RIGHT - 14:
                parts.append(svg.line((x, _BOTTOM), (x, _BOTTOM + 4), "axis"))
                parts.append(svg.text(wording.duration(factor * 10.0**decade), x, _BOTTOM + 17, "tick", "middle"))
    return parts


def _place(milliseconds: float) -> float:
    return math.log10(max(milliseconds, 1.0)) * BINS / 6


def _percentiles(spread: Spread, first: int, last: int, x_of: Callable[[float], float]) -> list[Markup]:
    parts: list[Markup] = []
    rows = [(spread.before, "before", _TOP - 18), (spread.after, "after", _TOP - 4)]
    for quantiles, kind, y in rows:
        if quantiles is None:
            continue
        marks = [("p50", quantiles.p50), ("p95", quantiles.p95)]
        places = [x_of(min(last, max(first, _place(value)))) for _, value in marks]
        parts.append(svg.line((places[0], y), (places[1], y), f"{kind}-span"))
        for x in places:
            parts.append(svg.line((x, y), (x, _BOTTOM), f"{kind}-mark"))
            parts.append(svg.element("circle", cx=x, cy=y, r=3, class_=f"{kind}-dot"))
        words = " · ".join(f"{name} {wording.duration(value)}" for name, value in marks)
        # Beside the span, where there is room.
        if places[1] < _RIGHT - _LABEL:
            parts.append(svg.text(words, places[1] + 8, y + 3.5, f"{kind}-label"))
        else:
            parts.append(svg.text(words, places[0] - 8, y + 3.5, f"{kind}-label", "end"))
    return parts


def likeness(answers: Answers) -> Markup:
    """Draw how alike the answers are: those that stayed as one strip, the others as a histogram."""
    if not answers.compared:
        return Markup()
    same, alike = answers.exact / answers.compared, answers.normalised / answers.compared
    width = _RIGHT - _LEFT
    strip = [
        svg.bar(_LEFT, 8, width, 14, "strip-different", f"{wording.count(answers.different)} different", rounded=3),
        svg.bar(
            _LEFT,
            8,
            width * (same + alike),
            14,
            "strip-alike",
            f"{answers.normalised:,} but for case and spaces",
            rounded=3,
        ),
        svg.bar(_LEFT, 8, width * same, 14, "strip-same", f"{answers.exact:,} exactly the same", rounded=3),
        svg.text(f"{wording.percent(same + alike)} unchanged", _LEFT, 38, "tick"),
        svg.text(f"{wording.percent(answers.different / answers.compared)} in other words", _RIGHT, 38, "tick", "end"),
    ]
    top = svg.round_up(max(*answers.histogram, 1))
    step = width / SIMILARITY_BINS
    bars = []
    for place, count in enumerate(answers.histogram):
        height = count / top * (_BOTTOM - 62)
        low, high = place / SIMILARITY_BINS, (place + 1) / SIMILARITY_BINS
        title = f"likeness {low:.2f} to {high:.2f}: {wording.count(count, 'answer')}"
        kind = "bar-far" if high <= 0.5 else "bar-near" if high <= 0.85 else "bar-like"
        if count:
            height = max(height, 1.5)
        bars.append(svg.bar(_LEFT + place * step + 1.5, _BOTTOM - height, step - 3, height, kind, title, rounded=2))
    axis = [svg.line((_LEFT, _BOTTOM), (_RIGHT, _BOTTOM), "axis")]
    for at, words in ((0.0, "0 · unrelated"), (0.5, "0.5"), (1.0, "1 · same meaning")):
        anchor = "start" if at == 0 else "end" if at == 1 else "middle"
        axis.append(svg.text(words, _LEFT + at * width, _BOTTOM + 17, "tick", anchor))
    if not any(answers.histogram):
        axis.append(svg.text("no answer changed", _LEFT + width / 2, 120, "tick", "middle"))
    elif answers.similarity is not None:
        x = _LEFT + answers.similarity.value * width
        label = f"mean {answers.similarity.value:.2f}"
        axis.append(svg.line((x, 54), (x, _BOTTOM), "after-mark"))
        axis.append(svg.text(label, x + (-6 if x > 100 else 6), 60, "after-label", "end" if x > 100 else "start"))
    return svg.drawing(_WIDTH, _HEIGHT, "How alike the answers are", *strip, *bars, *axis)


def timeline(moments: Sequence[Moment]) -> Markup:
    """Draw the replay itself: how fast answers came, how many, and when some failed or took another route."""
    if len(moments) < 2:
        return Markup()
    step = (_RIGHT - _LEFT) / len(moments)
    slowest = svg.round_up(max((moment.p95_ms or 0 for moment in moments), default=1) or 1)
    most = max(moment.items for moment in moments)
    base, split = _BOTTOM, 128.0

    def y_of(milliseconds: float) -> float:
        return split - milliseconds / slowest * (split - _TOP)

    timed = [(_LEFT + (place + 0.5) * step, moment) for place, moment in enumerate(moments) if moment.p95_ms]
    upper = [(x, y_of(moment.p95_ms or 0)) for x, moment in timed]
    lower = [(x, y_of(moment.p50_ms or 0)) for x, moment in timed]
    parts = [
        svg.line((_LEFT, y_of(slowest)), (_RIGHT, y_of(slowest)), "grid"),
        svg.text(wording.duration(slowest), _LEFT, y_of(slowest) - 5, "tick"),
        svg.line((_LEFT, split), (_RIGHT, split), "grid"),
        svg.path(svg.area(upper, split), "after-area"),
        svg.path(svg.curve(upper), "after-line"),
        svg.path(svg.curve(lower), "median-line"),
    ]
    for place, moment in enumerate(moments):
        x = _LEFT + place * step
        height = moment.items / most * (base - split - 16)
        bad = moment.failed / most * (base - split - 16)
        told = (
            f"{wording.duration(moment.start * 1000)}: {wording.count(moment.items, 'question')}, "
            f"{moment.failed:,} failed, {moment.rerouted:,} on another route"
        )
        gap = min(1.0, step / 6)
        parts.append(svg.bar(x + gap, base - height, step - 2 * gap, height, "bar-items", told, rounded=1))
        if moment.failed:
            parts.append(svg.bar(x + gap, base - max(2.0, bad), step - 2 * gap, max(2.0, bad), "bar-failed", told))
        if moment.rerouted:
            parts.append(svg.element("circle", cx=x + step / 2, cy=base - height - 4, r=1.8, class_="dot-rerouted"))
    end = moments[-1].start + moments[-1].seconds
    parts += [
        svg.line((_LEFT, base), (_RIGHT, base), "axis"),
        svg.text("start", _LEFT, base + 17, "tick"),
        svg.text(wording.duration(end * 1000), _RIGHT, base + 17, "tick", "end"),
    ]
    return svg.drawing(_WIDTH, _HEIGHT, "The replay over time", *parts)


def whisker(estimate: Estimate, *, null: float, margin: float, worse: Finding | None) -> Markup:
    """Draw an interval against "no change". ``worse``: the direction that is bad; None: neither is."""
    finding = estimate.finding(null=null, margin=margin)
    directed = finding in (Finding.LOWER, Finding.HIGHER) and worse is not None
    kind = ("whisker-bad" if finding is worse else "whisker-good") if directed else "whisker-flat"
    reach = max(abs(estimate.low - null), abs(estimate.high - null), margin * 1.5) * 1.1 or 1.0

    def x_of(value: float) -> float:
        return 60 + (value - null) / reach * 58

    return svg.drawing(
        120,
        16,
        f"95 % interval {estimate.low:.3f} to {estimate.high:.3f}",
        svg.bar(x_of(null - margin), 1, x_of(null + margin) - x_of(null - margin), 14, "whisker-zone", rounded=2),
        svg.line((60, 0), (60, 16), "whisker-null"),
        svg.line((x_of(estimate.low), 8), (x_of(estimate.high), 8), f"whisker {kind}"),
        svg.element("circle", cx=x_of(estimate.value), cy=8, r=3.5, class_=f"whisker-dot {kind}"),
    )
