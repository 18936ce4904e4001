"""The verdict on a replay in one line, with its reasons in a few sentences. No user's text is in them."""

from __future__ import annotations

from agentic_flywheel.prices import Cost, rounded
from producer.replay import wording
from producer.replay.statistics import FEW, Estimate, Finding
from producer.replay.summary import Costs, Doings, Headline, Spread, Summary

#: Differences up to these do not matter: of a ratio, of a share, of a score or a likeness.
RATIO_MARGIN, SHARE_MARGIN, SCORE_MARGIN = 0.1, 0.01, 0.02
#: Answers with a lower similarity than this have another meaning.
ALIKE = 0.85


def headline(summary: Summary, *, moved: tuple[str, str] | None = None, several: bool = False) -> Headline:
    """Return the verdict on a replay.

    ``moved``: the flow that answered before and the one that was asked in its place; ``several``: these were several.
    """
    moves = several or moved is not None
    found = (
        _moved(summary, moved) if moved else "",
        _strayed(summary) if moves else _routes(summary),
        _answers(summary, with_interval=moves),
        _doings(summary),
        _errors(summary),
        _failures(summary) if moves else "",
        _speed(summary),
        _tokens(summary) if moves else "",
        _costs(summary),
    )
    facts = (*filter(None, found), *_scores(summary))
    tone, line = _line(summary, "move" if moves else "ship")
    return Headline(tone=tone, line=line, facts=facts)


def _line(summary: Summary, step: str) -> tuple[str, str]:
    if summary.gate:
        missed = [each for each in summary.gate if not each.passed]
        unsure = sum(not each.certain for each in summary.gate)
        total = wording.count(len(summary.gate), "condition")
        if missed:
            return "bad", f"The gate fails: {len(missed)} of {total} missed"
        return ("mixed" if unsure else "good"), f"The gate passes: {total} met"
    if not summary.items:
        return "unclear", "Nothing was replayed"
    if not summary.compared:
        return "unclear", "There was nothing to compare with"
    if _errors_finding(summary) is Finding.HIGHER:
        return "bad", "More questions fail than before"
    if any(_score_finding(summary, place) is Finding.LOWER for place in range(len(summary.scores))):
        return "bad", "Answers score worse than before"
    if summary.compared < FEW:
        are = "is" if summary.compared == 1 else "are"
        return "unclear", f"{wording.count(summary.compared, 'question')} {are} too few to tell"
    worse = _reservations(summary)
    if worse:
        return "mixed", f"Look before you {step}: {' and '.join(worse)}"
    unclear = (_errors_finding(summary), _ratio_finding(summary.speed), _mean_finding(summary.costs.spread))
    if Finding.UNCLEAR in unclear:
        return "mixed", "Nothing got worse that this sample can show"
    return "good", "Nothing that matters changed for the worse"


def _reservations(summary: Summary) -> list[str]:
    found = []
    if summary.routes.share is not None and summary.routes.share.low > 0 and summary.routes.changed:
        found.append("routes changed")
    similar = summary.answers.similarity
    if similar is not None and similar.high < ALIKE:
        found.append("answers say other things")
    found += [f"{what} changed" for what, doings in _did(summary) if doings.share and doings.share.low > 0]
    if _ratio_finding(summary.speed) is Finding.HIGHER:
        found.append("flows are slower")
    if _mean_finding(summary.costs.spread) is Finding.HIGHER:
        found.append("answers cost more")
    return found


def _errors_finding(summary: Summary) -> Finding | None:
    change = summary.errors.change
    return change.finding(null=0.0, margin=SHARE_MARGIN) if change is not None else None


def _score_finding(summary: Summary, place: int) -> Finding | None:
    change = summary.scores[place].change
    return change.finding(null=0.0, margin=SCORE_MARGIN) if change is not None else None


def _ratio_finding(spread: Spread) -> Finding | None:
    ratio = spread.p95_ratio
    return ratio.finding(null=1.0, margin=RATIO_MARGIN) if ratio is not None else None


def _mean_finding(spread: Spread) -> Finding | None:
    ratio = spread.mean_ratio
    return ratio.finding(null=1.0, margin=RATIO_MARGIN) if ratio is not None else None


def _moved(summary: Summary, moved: tuple[str, str]) -> str:
    return f"{moved[1]} was asked the {wording.count(summary.items, 'question')} that {moved[0]} has answered."


def _strayed(summary: Summary) -> str:
    """Return how many questions another flow answered than the one that was asked; nothing where none was."""
    routes = summary.routes
    if not routes.changed or routes.share is None:
        return ""
    share = wording.percent(routes.share.value)
    return f"{wording.count(routes.changed, 'question')} ({share}) went to another flow than was asked: its fallback."


def _failures(summary: Summary) -> str:
    """Return with which errors questions fail now."""
    failures = [f"{wording.count(each.after)} × {each.error_type}" for each in summary.error_types if each.after]
    return f"What failed now: {', '.join(failures)}." if failures else ""


def _routes(summary: Summary) -> str:
    routes = summary.routes
    if routes.share is None:
        return ""
    if not routes.changed:
        return f"All {wording.count(routes.compared, 'question')} went where they went before."
    share = wording.percent(routes.share.value)
    return (
        f"{wording.count(routes.changed)} of {wording.count(routes.compared, 'question')} ({share}) took another route."
    )


def _answers(summary: Summary, *, with_interval: bool) -> str:
    answers = summary.answers
    if answers.similarity is None:
        return ""
    same = answers.exact + answers.normalised
    interval = f" (95 % interval {wording.between(answers.similarity, '{:.2f}'.format)})" if with_interval else ""
    return (
        f"{wording.percent(same / answers.compared)} of the answers are the same; "
        f"likeness is {answers.similarity.value:.2f} on average{interval}."
    )


def _did(summary: Summary) -> tuple[tuple[str, Doings], ...]:
    return ("tools", summary.tools), ("sources", summary.sources), ("stops for a person", summary.stops)


def _doings(summary: Summary) -> str:
    """Return what changed of what flows do; nothing where nothing did: most flows have no tools."""
    told = [
        f"{what} of {wording.count(doings.changed)} of {wording.count(doings.compared, 'question')} changed"
        for what, doings in _did(summary)
        if doings.changed
    ]
    return f"The {', the '.join(told)}." if told else ""


def _errors(summary: Summary) -> str:
    errors = summary.errors
    if not errors.pairs or errors.change is None:
        return f"{wording.count(errors.count)} of {wording.count(errors.n, 'question')} failed." if errors.n else ""
    told = f"{wording.count(errors.gained)} failed anew, {wording.count(errors.lost)} no longer"
    finding = {
        Finding.HIGHER: "errors rose",
        Finding.LOWER: "errors fell",
        Finding.SAME: "errors stayed as they were",
        Finding.UNCLEAR: "too few cases to tell whether errors rose",
        Finding.TOO_FEW: "too few cases to tell whether errors rose",
    }[errors.change.finding(null=0.0, margin=SHARE_MARGIN)]
    return f"{told}: {finding}."


def _speed(summary: Summary) -> str:
    spread = summary.speed
    ratio = spread.p95_ratio
    if ratio is None or spread.before is None or spread.after is None:
        return ""
    what = "Flows" if summary.durations_of_flows else "Answers"
    ends = f"p95 {wording.duration(spread.before.p95)} → {wording.duration(spread.after.p95)}"
    interval = _change(ratio)
    match ratio.finding(null=1.0, margin=RATIO_MARGIN):
        case Finding.HIGHER:
            return f"{what} are slower: {ends} ({interval})."
        case Finding.LOWER:
            return f"{what} are faster: {ends} ({interval})."
        case Finding.SAME:
            return f"{what} are as fast as before: {ends} ({interval})."
        case _:
            return f"Too few cases to tell whether {what.lower()} got slower: {ends} ({interval})."


def _tokens(summary: Summary) -> str:
    spread = summary.tokens
    if spread.mean_ratio is None or spread.before is None or spread.after is None:
        return ""
    ends = f"{wording.count(round(spread.before.mean))} → {wording.count(round(spread.after.mean))}"
    return f"An answer takes {ends} tokens on average ({_change(spread.mean_ratio)})."


def _costs(summary: Summary) -> str:
    costs = summary.costs
    ratio, before, after = costs.spread.mean_ratio, costs.spread.before, costs.spread.after
    unknown = _unknown(costs)
    if ratio is None or before is None or after is None:
        if costs.currency_before:
            return f"What answers cost cannot be compared: before in {costs.currency_before}, now in {costs.currency}."
        known = costs.total_before is not None or costs.total is not None
        return f"What answers cost cannot be compared{unknown}." if known and unknown else ""
    old, new = (rounded(Cost.of_parts(round(each.mean), costs.currency)) for each in (before, after))
    told = f"{old} → {new} on average ({_change(ratio)})"
    match ratio.finding(null=1.0, margin=RATIO_MARGIN):
        case Finding.HIGHER:
            return f"Answers cost more: {told}{unknown}."
        case Finding.LOWER:
            return f"Answers cost less: {told}{unknown}."
        case Finding.SAME:
            return f"Answers cost as much as before: {told}{unknown}."
        case _:
            return f"Too few cases to tell whether answers cost more: {told}{unknown}."


def _unknown(costs: Costs) -> str:
    """Return of how many answers the cost is not known; nothing where there are none."""
    told = ((costs.unknown_before, "before"), (costs.unknown, "now"))
    named = " and ".join(f"of {wording.count(count, 'answer')} {when}" for count, when in told if count)
    return f"; that {named} is not known" if named else ""


def _change(ratio: Estimate) -> str:
    return f"{wording.times(ratio.value)}, 95 % interval {wording.between(ratio, wording.times)}"


def _scores(summary: Summary) -> tuple[str, ...]:
    found = []
    for place, scores in enumerate(summary.scores):
        finding = _score_finding(summary, place)
        if scores.score is None:
            found.append(f"The evaluator {scores.label} could judge nothing.")
        elif finding in (Finding.LOWER, Finding.HIGHER) and scores.change is not None:
            found.append(f"{scores.label} went {finding.value}: {scores.change.value:+.3f} on average.")
        elif finding in (Finding.UNCLEAR, Finding.TOO_FEW):
            found.append(f"Too few cases to tell whether {scores.label} changed.")
    return tuple(found)
