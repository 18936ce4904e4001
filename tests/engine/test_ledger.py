"""What a worker owes is written in order, once, and only where it still applies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from engine.conftest import Station

from workers.engine.ledger import BATCH, Ledger
from workers.engine.link import Call, Link
from workers.engine.scripts import EXPIRED, FETCH, RENEW, SETTLE

UNACKED, INDEX = "unacked", "unacked_index"


@pytest.fixture
def link(station: Station) -> Iterator[Link]:
    link = Link(redis.ConnectionPool.from_url(station.url), visibility_timeout=6.0)
    yield link
    link.close()


def settle(link: Link, ledger: Ledger) -> Any:
    batch_id, *entries = ledger.batch()
    (answer,) = link.run(Call(SETTLE, (UNACKED, INDEX, f"settled:{ledger.name}"), (batch_id, 60, *entries)))
    return answer


def fetch(link: Link, *queues: str, room: int = 10, share: int = 8) -> list[str]:
    (taken,) = link.run(Call(FETCH, (UNACKED, INDEX), (room, share, *queues)))
    return [part.decode() for part in taken]


def message(tag: str) -> str:
    return json.dumps({"headers": {}, "properties": {"delivery_tag": tag, "delivery_info": {}}})


def test_taking_a_message_records_it_at_once(station: Station, link: Link) -> None:
    station.redis.lpush("q", message("m1"))

    assert fetch(link, "=", "q") == ["q", message("m1")]
    assert station.queued("q") == 0
    assert json.loads(station.redis.hget(UNACKED, "m1") or "") == [json.loads(message("m1")), "", "q"]
    assert station.redis.zscore(INDEX, "m1") == pytest.approx(station.redis.time()[0], abs=2)


@pytest.mark.parametrize(
    "raw",
    [
        '{"headers": {"delivery_tag": "another"}, "properties": {"delivery_tag": "its own"}}',
        r'{"headers": {"argsrepr": "{\"delivery_tag\": \"another\"}"}, "properties": {"delivery_tag":"its own"}}',
        r'{"headers": {}, "properties": {"delivery_tag": "its\u0020own"}}',
    ],
)
def test_a_message_is_recorded_under_its_own_tag(station: Station, link: Link, raw: str) -> None:
    station.redis.lpush("q", raw)

    fetch(link, "=", "q")

    assert station.redis.hkeys(UNACKED) == ["its own"]


def test_the_queues_of_a_band_share_and_bands_do_not(station: Station, link: Link) -> None:
    for queue in ("high", "a", "b"):
        station.redis.lpush(queue, *(message(f"{queue}{number}") for number in range(5)))

    taken = fetch(link, "=", "high", "=", "a", "b", room=11, share=2)[::2]

    assert taken == ["high"] * 5 + ["a", "a", "b", "b", "a", "a"]


def test_a_batch_is_carried_out_once_however_often_it_is_sent(station: Station, link: Link) -> None:
    ledger = Ledger()
    ledger.message("q", "hello")

    assert settle(link, ledger) == 1
    assert settle(link, ledger) == 0  # as when the first answer was lost
    ledger.confirm()
    ledger.message("q", "again")
    assert settle(link, ledger) == 1
    assert station.redis.lrange("q", 0, -1) == ["again", "hello"]


def test_a_batch_is_bounded_and_the_rest_follows_in_order() -> None:
    ledger = Ledger()
    for number in range(BATCH + 1):
        ledger.acknowledge(str(number))

    first = ledger.batch()
    assert ledger.batch() == first
    assert len(first) == 1 + 2 * BATCH
    ledger.confirm()
    assert ledger.batch()[1:] == ["ack", str(BATCH)]


def test_a_late_result_does_not_replace_a_success(station: Station, link: Link) -> None:
    ledger = Ledger()
    ledger.result("r", 60, json.dumps({"status": "SUCCESS", "result": 1}))
    ledger.result("r", 60, json.dumps({"status": "FAILURE", "result": "late"}))
    ledger.result("kept", 0, json.dumps({"status": "STARTED"}))
    settle(link, ledger)

    assert json.loads(station.redis.get("r") or "")["result"] == 1
    assert 0 < station.redis.ttl("r") <= 60  # type: ignore[operator]
    assert station.redis.ttl("kept") == -1


def test_a_message_given_back_is_there_once(station: Station, link: Link) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, "=", "q")
    ledger = Ledger()
    ledger.give_back("m1", "q", "redelivered")
    ledger.give_back("m1", "q", "redelivered")
    settle(link, ledger)

    assert station.redis.lrange("q", 0, -1) == ["redelivered"]
    assert station.unacknowledged() == 0


def test_a_lease_renewed_after_it_was_seen_expired_is_left_alone(station: Station, link: Link) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, "=", "q")
    station.redis.zadd(INDEX, {"m1": 1})
    (found,) = link.run(Call(EXPIRED, (UNACKED, INDEX), (6, 10)))
    tag, seen, _record = (part.decode() for part in found)
    link.run(Call(RENEW, (INDEX,), (tag,)))

    ledger = Ledger()
    ledger.give_back(tag, "q", "redelivered", seen=seen)
    settle(link, ledger)
    assert station.queued("q") == 0
    assert station.unacknowledged() == 1


def test_a_lease_that_is_gone_is_not_renewed(station: Station, link: Link) -> None:
    link.run(Call(RENEW, (INDEX,), ("gone",)))

    assert station.redis.zcard(INDEX) == 0


def test_a_link_outlives_its_connection_and_the_scripts_its_server_knew(station: Station, link: Link) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, "=", "q")
    station.redis.script_flush()
    station.redis.client_kill_filter(_type="normal", skipme=True)

    with pytest.raises(redis.ConnectionError):
        fetch(link, "=", "q")
    assert fetch(link, "=", "q") == []
