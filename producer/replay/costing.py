"""Gather what answers cost, before and after, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter

from agentic_flywheel.prices import Cost
from producer.replay.comparing import Change, answered
from producer.replay.recorded import Recorded
from producer.replay.sampling import PairSample
from producer.replay.spreading import spread_of
from producer.replay.summary import Costs


class CostGathering:
    """Takes changes one by one. Pairs are of answers for which a flow was called both times."""

    def __init__(self) -> None:
        self._pairs: dict[str, PairSample] = {}
        self._sums: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._unknown = [0, 0]
        #: Of how many pairs the earlier answer was paid in another currency than the later one, by that.
        self._others: Counter[str] = Counter()

    def add(self, change: Change) -> None:
        before = change.before if change.against != "expected" else None
        for when, outcome in enumerate((before, change.after)):
            if outcome is None or not answered(outcome):
                continue
            if outcome.cost is None:
                self._unknown[when] += 1
            else:
                self._sums[when][outcome.cost.currency] += outcome.cost.parts
        old, new = _paid(before), _paid(change.after)
        if new is not None:
            matches = old is not None and old.currency == new.currency
            if old is not None and not matches:
                self._others[old.currency] += 1
            sample = self._pairs.setdefault(new.currency, PairSample())
            sample.add(float(old.parts) if old is not None and matches else None, float(new.parts))

    def costs(self) -> Costs:
        """Return the figures; those of pairs in the currency that most of them have."""
        currency = max(self._pairs, key=lambda each: self._pairs[each].seen, default="")
        sample = self._pairs.get(currency, PairSample())
        spread = spread_of(sample)
        others = max(self._others, key=self._others.__getitem__, default="")
        return Costs(
            currency=currency,
            currency_before=others if spread.before is None else "",
            spread=spread,
            total_before=_sum(self._sums[0]),
            total=_sum(self._sums[1]),
            unknown_before=self._unknown[0],
            unknown=self._unknown[1],
        )


def _paid(outcome: Recorded | None) -> Cost | None:
    """Return what a call of a flow cost; None where none was called, or its cost is not known."""
    if outcome is None or not answered(outcome) or outcome.cached or outcome.cost is None:
        return None
    return outcome.cost if outcome.cost.currency else None


def _sum(parts: Counter[str]) -> Cost | None:
    """Return a sum in one currency; None where nothing is known, or currencies differ."""
    paid = {currency for currency in parts if currency}
    if not parts or len(paid) > 1:
        return None
    currency = next(iter(paid), "")
    return Cost.of_parts(parts[currency], currency)
