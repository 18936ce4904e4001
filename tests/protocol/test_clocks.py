"""A host's clock may be off by any time: what is dated by the broker is compared with the broker's clock alone."""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime, timedelta

import pytest
from processes import REPOSITORY
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.figures.health import read_health
from agentic_flywheel.figures.usage import read_usage
from agentic_flywheel.figures.waiting import read_waits
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.cli.clock import clock_of

#: Reads of the host's own clock beside the broker, each with its reason.
OWN = {
    "broker/bundles.py": "shown to people, compared with nothing",
    "broker/large_files.py": "files are dated by hosts, too",
    "broker/persistence.py": "the age of an answer in a trace",
    "broker/scores.py": "of a score that is only checked",
    "broker/stops.py": "after 30 days, give or take",
    "broker/transitions.py": "how long a caller gives its query, by the clock on which it said so",
}


@pytest.fixture(params=[-3600, 3600], ids=["behind", "before"])
def shift(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Every module of ours that is loaded here reads a clock that is an hour off."""
    off = timedelta(seconds=request.param)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + off  # type: ignore[arg-type]

    for name, module in list(sys.modules.items()):
        if name.startswith(("agentic_flywheel.", "producer.")) and vars(module).get("datetime") is datetime:
            monkeypatch.setattr(module, "datetime", Shifted)
    return off


async def test_a_time_out_is_as_long_as_it_says_whatever_the_callers_clock(
    shift: timedelta, settings: Settings, redis_client: Redis
) -> None:
    async with AsyncProducer(settings=settings) as producer:
        submission = await producer.submit("Write a poem about clocks", timeout=60)
        now = await broker_now(producer.batch)
        kept = await redis_client.hget(wire.record_key(submission.query_id), "deadline")

        assert kept is not None
        assert 50_000 < int(kept) - now.timestamp() * 1000 <= 60_000
        waits = await read_waits(producer.batch, producer.catalog)
        assert sum(each.open for each in waits) == 1
        assert max(each.oldest for each in waits) < timedelta(seconds=10)
        for read in (
            await read_health(producer.batch, producer.catalog),
            await read_usage(producer.batch, producer.catalog),
        ):
            assert timedelta() <= read.until - now < timedelta(seconds=10)


def test_whoever_compares_with_the_brokers_moments_asks_the_broker() -> None:
    own = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow)\(")
    folder = REPOSITORY / "agentic_flywheel"
    read = {
        path.relative_to(folder).as_posix()
        for package in ("broker", "figures")
        for path in (folder / package).rglob("*.py")
        if own.search(path.read_text())
    }

    assert read == set(OWN)


@pytest.mark.parametrize(
    ("ahead", "told"), [(0, ""), (3600, "3600 s before the broker's"), (-3600, "3600 s behind the broker's")]
)
def test_a_doctor_says_how_far_the_clocks_are_apart(ahead: int, told: str) -> None:
    (check,) = clock_of({"server_time_usec": int((time.time() - ahead) * 1_000_000)})

    assert (check.state, bool(check.advice)) == (("warning", True) if told else ("ok", False))
    assert told in check.found
    assert clock_of({}) == []
