"""The key figures of a report: each with its number, what it means, and its interval against "no change"."""

from __future__ import annotations

from collections.abc import Iterator

from agentic_flywheel.models import Cost, Model
from agentic_flywheel.prices import rounded
from producer.replay import wording
from producer.replay.report.plots import whisker
from producer.replay.statistics import FEW, Estimate, Finding
from producer.replay.summary import Costs, Doings, Quantiles, ScoreFigures, Share, Spread, Summary
from producer.replay.verdict import ALIKE, RATIO_MARGIN, SCORE_MARGIN, SHARE_MARGIN


class Tile(Model):
    """One key figure. ``tone``: good, bad, warn, or none. ``whisker`` is SVG."""

    title: str
    number: str
    unit: str = ""
    note: str = ""
    tone: str = ""
    whisker: str = ""


def tiles(summary: Summary) -> list[Tile]:
    """Return the key figures that this replay has."""
    return list(_tiles(summary))


def _tiles(summary: Summary) -> Iterator[Tile]:
    yield _questions(summary)
    if summary.routes.share is not None:
        yield _routes(summary)
    if summary.routes.as_expected is not None:
        expected = summary.routes.as_expected
        note = f"as expected; {wording.between(expected, wording.percent)}"
        yield Tile(title="Expected route", number=wording.percent(expected.value), note=note)
    if summary.answers.similarity is not None:
        yield _likeness(summary)
    for title, doings in (
        ("Other tools", summary.tools),
        ("Other sources", summary.sources),
        ("Stopped once only", summary.stops),
    ):
        if doings.changed and doings.share is not None:
            yield _did(title, doings, doings.share)
    yield _errors(summary.errors)
    if summary.speed.after is not None:
        yield _duration("Flow time, p95" if summary.durations_of_flows else "Time, p95", summary.speed)
    if summary.first_token.after is not None:
        yield _first_token(summary.first_token)
    if summary.tokens.total:
        yield _tokens(summary.tokens)
    if summary.costs.spread.after is not None:
        yield _cost(summary.costs, summary.costs.spread.after)
    if summary.cached.count or summary.cached.count_before:
        yield _cached(summary.cached)
    for scores in summary.scores:
        if scores.score is not None:
            yield _score(scores, scores.score)


def _questions(summary: Summary) -> Tile:
    lasted = ""
    if summary.started is not None and summary.ended is not None and summary.ended > summary.started:
        lasted = f" in {wording.duration((summary.ended - summary.started).total_seconds() * 1000)}"
    missing = f"; {wording.count(summary.missing)} of the other replay missing" if summary.missing else ""
    note = f"{wording.count(summary.succeeded)} answered{lasted}, {wording.count(summary.compared)} to compare{missing}"
    return Tile(title="Questions", number=wording.count(summary.items), note=note)


def _routes(summary: Summary) -> Tile:
    routes, share = summary.routes, summary.routes.share
    assert share is not None
    note = f"{wording.count(routes.changed)} of {wording.count(routes.compared)}"
    if routes.changed:
        note += f"; {wording.between(share, wording.percent)}"
    return Tile(
        title="Other route", number=wording.percent(share.value), note=note, tone="warn" if routes.changed else ""
    )


def _likeness(summary: Summary) -> Tile:
    answers, similarity = summary.answers, summary.answers.similarity
    assert similarity is not None
    same = (answers.exact + answers.normalised) / answers.compared
    tone = "warn" if similarity.n >= FEW and similarity.high < ALIKE else ""
    note = f"likeness on average; {wording.percent(same)} of the answers stayed the same"
    return Tile(title="Answers alike", number=f"{similarity.value:.2f}", unit="of 1", note=note, tone=tone)


def _did(title: str, doings: Doings, share: Estimate) -> Tile:
    note = f"{wording.count(doings.changed)} of {wording.count(doings.compared)}"
    note += f"; {wording.between(share, wording.percent)}"
    return Tile(title=title, number=wording.percent(share.value), note=note, tone="warn")


def _errors(errors: Share) -> Tile:
    number = wording.percent(errors.share.value) if errors.share else "–"
    if errors.change is None:
        return Tile(title="Failed", number=number, note=f"{wording.count(errors.count)} of {wording.count(errors.n)}")
    finding = errors.change.finding(null=0.0, margin=SHARE_MARGIN)
    before = wording.percent(errors.count_before / errors.pairs)
    note = f"before {before}; {wording.count(errors.gained)} anew, {wording.count(errors.lost)} no longer"
    return Tile(
        title="Failed",
        number=number,
        note=note,
        tone=_tone(finding, worse=Finding.HIGHER),
        whisker=whisker(errors.change, null=0.0, margin=SHARE_MARGIN, worse=Finding.HIGHER),
    )


def _duration(title: str, spread: Spread) -> Tile:
    assert spread.after is not None
    number = wording.duration(spread.after.p95)
    ratio = spread.p95_ratio
    if ratio is None or spread.before is None:
        return Tile(title=title, number=number, note=f"median {wording.duration(spread.after.p50)}")
    finding = ratio.finding(null=1.0, margin=RATIO_MARGIN)
    note = f"before {wording.duration(spread.before.p95)}; {wording.between(ratio, wording.times)}{_doubt(finding)}"
    return Tile(
        title=title,
        number=number,
        unit=wording.times(ratio.value),
        note=note,
        tone=_tone(finding, worse=Finding.HIGHER),
        whisker=whisker(ratio, null=1.0, margin=RATIO_MARGIN, worse=Finding.HIGHER),
    )


def _first_token(spread: Spread) -> Tile:
    assert spread.after is not None
    number = wording.duration(spread.after.p50)
    ratio = spread.p50_ratio
    if ratio is None or spread.before is None:
        return Tile(title="First token, median", number=number, note=f"p95 {wording.duration(spread.after.p95)}")
    finding = ratio.finding(null=1.0, margin=RATIO_MARGIN)
    return Tile(
        title="First token, median",
        number=number,
        unit=wording.times(ratio.value),
        note=f"before {wording.duration(spread.before.p50)}; {wording.between(ratio, wording.times)}{_doubt(finding)}",
        tone=_tone(finding, worse=Finding.HIGHER),
        whisker=whisker(ratio, null=1.0, margin=RATIO_MARGIN, worse=Finding.HIGHER),
    )


def _tokens(spread: Spread) -> Tile:
    number = _short(spread.total or 0)
    ratio = spread.mean_ratio
    if ratio is None:
        return Tile(title="Tokens", number=number)
    finding = ratio.finding(null=1.0, margin=RATIO_MARGIN)
    return Tile(
        title="Tokens",
        number=number,
        unit=wording.times(ratio.value),
        note=f"before {_short(spread.total_before or 0)}; an answer {wording.between(ratio, wording.times)}",
        whisker=whisker(ratio, null=1.0, margin=RATIO_MARGIN, worse=None),
        tone="warn" if finding is Finding.HIGHER else "",
    )


def _cost(costs: Costs, after: Quantiles) -> Tile:
    number, _, unit = rounded(Cost.of_parts(round(after.mean), costs.currency)).partition(" ")
    known = wording.count(after.n, "answer")
    doubt = f"; of {wording.count(costs.unknown)} not known" if costs.unknown else ""
    ratio, before = costs.spread.mean_ratio, costs.spread.before
    if ratio is None or before is None:
        return Tile(title="Cost of an answer", number=number, unit=unit, note=f"mean of {known}{doubt}")
    old = rounded(Cost.of_parts(round(before.mean), costs.currency))
    finding = ratio.finding(null=1.0, margin=RATIO_MARGIN)
    return Tile(
        title="Cost of an answer",
        number=number,
        unit=f"{unit} {wording.times(ratio.value)}",
        note=f"before {old}; {wording.between(ratio, wording.times)}{_doubt(finding)}{doubt}",
        tone=_tone(finding, worse=Finding.HIGHER),
        whisker=whisker(ratio, null=1.0, margin=RATIO_MARGIN, worse=Finding.HIGHER),
    )


def _cached(cached: Share) -> Tile:
    before = f"; before {wording.percent(cached.count_before / cached.pairs)}" if cached.pairs else ""
    number = wording.percent(cached.share.value) if cached.share else "–"
    return Tile(title="From the cache", number=number, note=f"{wording.count(cached.count)} answers{before}")


def _score(scores: ScoreFigures, score: Estimate) -> Tile:
    failures = f"; {wording.count(scores.failures)} not judged" if scores.failures else ""
    change = scores.change
    if change is None or scores.before is None:
        note = f"of 1, on average; {score.low:.2f} to {score.high:.2f}{failures}"
        return Tile(title=scores.label, number=f"{score.value:.2f}", note=note)
    finding = change.finding(null=0.0, margin=SCORE_MARGIN)
    return Tile(
        title=scores.label,
        number=f"{score.value:.2f}",
        unit=f"{change.value:+.3f}".replace("-", "−") if abs(change.value) >= 0.0005 else "±0",
        note=f"before {scores.before:.2f}, {wording.count(change.n)} judged twice{_doubt(finding)}{failures}",
        tone=_tone(finding, worse=Finding.LOWER),
        whisker=whisker(change, null=0.0, margin=SCORE_MARGIN, worse=Finding.LOWER),
    )


def _tone(finding: Finding, *, worse: Finding) -> str:
    if finding not in (Finding.LOWER, Finding.HIGHER):
        return ""
    return "bad" if finding is worse else "good"


def _doubt(finding: Finding) -> str:
    return "; too few to tell" if finding in (Finding.UNCLEAR, Finding.TOO_FEW) else ""


def _short(n: int) -> str:
    if n < 10_000:
        return wording.count(n)
    return f"{n / 1000:.0f} k" if n < 1_000_000 else f"{n / 1_000_000:.3g} M"
