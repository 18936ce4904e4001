"""What a worker owes is written in order, once, and only where it still applies."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis
from engine.conftest import Station

from agentic_flywheel.broker import transport_scripts
from agentic_flywheel.broker.transport_scripts import ExpiredFound, FetchTaken, SettleKnown, SettleReply, SettleSettled
from workers.engine.ledger import BATCH, Ledger, Moved
from workers.engine.link import BrokerLink, server_runs

UNACKED, INDEX, UNREADABLE = "flywheel:unacked", "flywheel:unacked_index", "flywheel:unreadable"


@pytest.fixture
def link(station: Station) -> Iterator[BrokerLink]:
    link = BrokerLink(redis.ConnectionPool.from_url(station.url), visibility_timeout=6.0)
    yield link
    link.close()


def settle(link: BrokerLink, ledger: Ledger) -> SettleReply:
    """Write one batch."""
    batch = ledger.batch()
    with link as run:
        reply = link.run(
            transport_scripts.settle(
                run=run, ledger=ledger.name, batch_id=batch.id, remembered=60, kept=3, entries=batch.entries
            )
        )
    assert not isinstance(reply, redis.ResponseError)
    return reply


def fetch(link: BrokerLink, *bands: list[str], room: int = 10, share: int = 8) -> FetchTaken:
    queues = [queue for band in bands for queue in band]
    call = transport_scripts.fetch(
        limit=room, share=share, list_first=True, bands=[len(band) for band in bands], queues=queues
    )
    taken = link.run(call)
    assert isinstance(taken, FetchTaken)
    return taken


def binary(station: Station) -> redis.Redis:
    return redis.Redis.from_url(station.url)


def message(tag: str) -> str:
    return json.dumps({"headers": {}, "properties": {"delivery_tag": tag, "delivery_info": {}}})


def test_taking_a_message_records_it_at_once(station: Station, link: BrokerLink) -> None:
    station.redis.lpush("q", message("m1"))

    assert fetch(link, ["q"]) == FetchTaken(("q",), ("m1",), (message("m1").encode(),))
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
def test_a_message_is_recorded_under_its_own_tag(station: Station, link: BrokerLink, raw: str) -> None:
    station.redis.lpush("q", raw)

    fetch(link, ["q"])

    assert station.redis.hkeys(UNACKED) == ["its own"]


def test_the_queues_of_a_band_share_and_bands_do_not(station: Station, link: BrokerLink) -> None:
    for queue in ("high", "a", "b"):
        station.redis.lpush(queue, *(message(f"{queue}{number}") for number in range(5)))

    taken = fetch(link, ["high"], ["a", "b"], room=11, share=2)

    assert taken.queues == ("high",) * 5 + ("a", "a", "b", "b", "a", "a")


def test_a_batch_is_carried_out_once_however_often_it_is_sent(station: Station, link: BrokerLink) -> None:
    ledger = Ledger()
    ledger.message("q", "hello")

    assert settle(link, ledger) == SettleSettled(0)
    assert settle(link, ledger) == SettleKnown()  # as when the first answer was lost
    ledger.confirm()
    ledger.message("q", "again")
    assert settle(link, ledger) == SettleSettled(0)
    assert station.redis.lrange("q", 0, -1) == ["again", "hello"]


def test_a_batch_is_bounded_and_the_rest_follows_in_order() -> None:
    ledger = Ledger()
    for number in range(BATCH + 1):
        ledger.acknowledge(str(number))

    first = ledger.batch()
    assert ledger.batch() == first
    assert len(first.entries) == BATCH
    ledger.confirm()
    assert ledger.batch().entries == (("ack", str(BATCH)),)


def test_a_late_result_does_not_replace_a_success(station: Station, link: BrokerLink) -> None:
    ledger = Ledger()
    ledger.result("r", 60, json.dumps({"status": "SUCCESS", "result": 1}))
    ledger.result("r", 60, json.dumps({"status": "FAILURE", "result": "late"}))
    ledger.result("kept", 0, json.dumps({"status": "STARTED"}))
    settle(link, ledger)

    assert json.loads(station.redis.get("r") or "")["result"] == 1
    assert 0 < station.redis.ttl("r") <= 60
    assert station.redis.ttl("kept") == -1


def test_a_message_given_back_is_there_once(station: Station, link: BrokerLink) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, ["q"])
    ledger = Ledger()
    ledger.give_back("m1", "q", "redelivered")
    ledger.give_back("m1", "q", "redelivered")
    settle(link, ledger)

    assert station.redis.lrange("q", 0, -1) == ["redelivered"]
    assert station.unacknowledged() == 0


def test_a_lease_renewed_after_it_was_seen_expired_is_left_alone(station: Station, link: BrokerLink) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, ["q"])
    station.redis.zadd(INDEX, {"m1": 1})
    found = link.run(transport_scripts.expired(age=6, limit=10))
    assert isinstance(found, ExpiredFound)
    (tag,), (seen,) = found.tags, found.seen
    link.run(transport_scripts.stamp(tags=[tag.decode()]))

    ledger = Ledger()
    ledger.give_back(tag.decode(), "q", "redelivered", seen=seen)
    settle(link, ledger)
    assert station.queued("q") == 0
    assert station.unacknowledged() == 1


def test_a_lease_that_is_gone_is_not_renewed(station: Station, link: BrokerLink) -> None:
    link.run(transport_scripts.stamp(tags=["gone"]))

    assert station.redis.zcard(INDEX) == 0


def test_a_link_outlives_its_connection_and_the_scripts_its_server_knew(station: Station, link: BrokerLink) -> None:
    station.redis.lpush("q", message("m1"))
    fetch(link, ["q"])
    station.redis.script_flush()
    station.redis.client_kill_filter(_type="normal", skipme=True)

    with pytest.raises(redis.ConnectionError):
        fetch(link, ["q"])
    assert fetch(link, ["q"]) == FetchTaken((), (), ())


def test_unreadable_messages_are_counted_and_the_newest_kept_as_they_were(station: Station, link: BrokerLink) -> None:
    sent = [f'no JSON, "", "{number}"'.encode() + b"\xff" for number in range(5)]
    ledger = Ledger()
    for raw in sent:
        station.redis.lpush("q", raw)
        (tag,) = fetch(link, ["q"]).tags
        ledger.set_aside(tag)
        ledger.set_aside(tag)  # as when two workers meet it
    settle(link, ledger)

    assert binary(station).lrange(UNREADABLE, 0, -1) == sent[:1:-1]
    assert station.redis.get(f"{UNREADABLE}:count") == "5"
    assert station.unacknowledged() == 0


def test_a_queue_that_is_no_list_stops_no_other(station: Station, link: BrokerLink) -> None:
    station.redis.set("broken", "text")
    station.redis.lpush("q", message("m1"))

    assert fetch(link, ["broken", "q"], ["broken"]) == FetchTaken(("q",), ("m1",), (message("m1").encode(),))
    ledger = Ledger()
    ledger.message("broken", "never sent")
    ledger.give_back("m1", "broken", "never returned")
    ledger.message("q", "sent")

    assert settle(link, ledger) == SettleSettled(2)
    assert station.redis.lrange("q", 0, -1) == ["sent"]
    assert station.redis.lrange(UNREADABLE, 0, -1) == ["never returned", "never sent"]


def test_two_messages_of_one_tag_are_two_records(station: Station, link: BrokerLink) -> None:
    station.redis.lpush("q", message("m1"), message("m1"))

    first, second = fetch(link, ["q"]).tags

    assert first == "m1"
    assert second != "m1"
    assert set(station.redis.hkeys(UNACKED)) == {first, second} == set(station.redis.zrange(INDEX, 0, -1))


def restarted(link: BrokerLink) -> None:
    """Have the link meet another run of its server, as it does when that was started again."""
    link.close()
    server_runs.number_of(b"another")


def moves(tag: str) -> str:
    return f"q\nq\n17.{tag}"


@pytest.mark.parametrize(
    ("record", "part", "remains"),
    [
        ({"state": "pending", "at": moves("m1")}, "", True),
        ({"state": "pending"}, "", True),  # a plain client's, recorded and not yet routed
        ({"state": "queued", "at": moves("another")}, "", False),
        ({"state": "succeeded", "at": moves("m1")}, "", False),
        ({"state": "queued", "at|part": moves("m1")}, "part", True),
        ({"state": "queued", "at|part": moves("m1"), "at": moves("another")}, "done", False),
    ],
)
def test_after_a_restart_an_acknowledgement_takes_no_message_that_an_execution_waits_for(
    station: Station, link: BrokerLink, record: dict[str, str], part: str, remains: bool
) -> None:
    """What the worker did in the earlier run may have been lost with the end of the server's file."""
    station.redis.hset("flywheel:query:id", items=[each for pair in record.items() for each in pair])
    station.redis.hset("flywheel:parts:id", "done", "{}")
    station.redis.lpush("q", message("m1"))
    with link as run:
        fetch(link, ["q"])
    restarted(link)
    ledger = Ledger()
    ledger.acknowledge("m1", Moved(run, f"id|{part}" if part else "id", True))
    settle(link, ledger)

    assert station.unacknowledged() == remains


@pytest.mark.parametrize("again", [False, True])
def test_a_plain_clients_message_that_alone_knows_its_query_outlives_a_restart(
    station: Station, link: BrokerLink, again: bool
) -> None:
    station.redis.lpush("q", message("m1"))
    with link as run:
        fetch(link, ["q"])
    if again:
        restarted(link)
    ledger = Ledger()
    ledger.acknowledge("m1", Moved(run, "id", False))
    settle(link, ledger)

    assert station.unacknowledged() == again
