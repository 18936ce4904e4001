"""The small tables below the plots, with the exact figures."""

from __future__ import annotations

from collections.abc import Sequence

from producer.replay import wording
from producer.replay.report.svg import Markup, element
from producer.replay.summary import Answers, RouteChange, Spread

_MOST_MOVED = 4


def times(spread: Spread) -> Markup:
    """Return the quantiles before and after, and how their ratio is known."""
    if spread.after is None:
        return Markup()
    both = spread.before is not None
    ratios = {"p50": spread.p50_ratio, "p95": spread.p95_ratio, "mean": spread.mean_ratio}
    body = []
    for words, name in (("median", "p50"), ("p95", "p95"), ("p99", "p99"), ("mean", "mean")):
        ratio = ratios.get(name)
        before = wording.duration(getattr(spread.before, name)) if both else ""
        change = f"{wording.times(ratio.value)}  ({wording.between(ratio, wording.times)})" if ratio else ""
        cells = (words, before, wording.duration(getattr(spread.after, name)), change)
        body.append(element("tr", *(element("td", cell) for cell in cells)))
    head = element(
        "tr",
        element("th", ""),
        element("th", element("span", "before", class_="of-before") if both else ""),
        element("th", element("span", "now", class_="of-after")),
        element("th", "change, 95 % interval" if both else ""),
    )
    return element("table", element("thead", head), element("tbody", *body), class_="times")


def sameness(answers: Answers) -> Markup:
    """Return how many answers stayed, and how many did not."""
    parts = (
        ("exactly the same", answers.exact),
        ("the same but for case and spaces", answers.normalised),
        ("in other words", answers.different),
    )
    return _rows([(words, _of(count, answers.compared)) for words, count in parts if answers.compared])


def most_moved(changes: Sequence[RouteChange]) -> Markup:
    """Return the most frequent changes of a route."""
    moved = [each for each in changes if each.before != each.after][:_MOST_MOVED]
    return _rows([(f"{each.before} → {each.after}", _sure(each)) for each in moved])


def _rows(rows: Sequence[tuple[str, str]]) -> Markup:
    made = [element("li", element("span", words), element("span", figure, class_="num")) for words, figure in rows]
    return element("ul", *made, class_="moved") if made else Markup()


def _of(count: int, total: int) -> str:
    return f"{wording.count(count)}  ({wording.percent(count / total)})"


def _sure(change: RouteChange) -> str:
    sure = f"  ({wording.percent(change.confidence)} sure)" if change.confidence is not None else ""
    return f"{wording.count(change.items)}{sure}"
