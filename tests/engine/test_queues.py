"""High before normal before low, and everybody gets a turn."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from workers.engine.queues import CADENCE, fetch_order

QUEUES = ["classify", "domain.tech", "domain.tech.high", "domain.tech.low", "classify.high"]


def test_high_is_taken_before_normal_before_low() -> None:
    high, normal, low = fetch_order(QUEUES, 0)

    assert sorted(high) == ["classify.high", "domain.tech.high"]
    assert sorted(normal) == ["classify", "domain.tech"]
    assert low == ["domain.tech.low"]


def test_every_band_goes_first_within_a_few_turns() -> None:
    first = Counter(fetch_order(["a", "a.high", "a.low"], turn)[0][0] for turn in range(CADENCE))

    assert first == {"a.high": CADENCE - 2, "a": 1, "a.low": 1}


@pytest.mark.parametrize("number", range(1, 12))
def test_the_queues_of_a_band_go_first_equally_often(number: int) -> None:
    queues = [f"q{place}" for place in range(number)]
    turns = 2000
    firsts = Counter(fetch_order(queues, turn)[0][0] for turn in range(turns))

    assert min(firsts[queue] for queue in queues) > 0.9 * turns / number


@pytest.mark.parametrize("number", range(1, 12))
def test_no_low_queue_is_left_out_when_the_others_are_always_full(number: int) -> None:
    lows = {f"q{place}.low" for place in range(number)}
    firsts = [fetch_order(["full", "full.high", *lows], turn)[0][0] for turn in range(40 * CADENCE)]

    assert set(firsts) >= lows


def test_a_queue_appears_once_in_every_turn() -> None:
    for turn in range(20):
        assert sorted(chain(*fetch_order([*QUEUES, *QUEUES], turn))) == sorted(QUEUES)
