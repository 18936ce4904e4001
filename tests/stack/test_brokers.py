"""Brokers as people have them: every process of ours reaches each kind of address. docs/redis.md has a row for each."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis
from bad_broker import HELLO, serving
from flower_pages.conftest import start_flower
from flower_pages.test_queues import lengths
from pipeline.house import RULES, House
from processes import Valkey, free_port
from tls import demanding_certificates, tls_before

import agentic_flywheel
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.rights import channel_rules, check_broker, commands, key_rules
from agentic_flywheel.errors import (
    BrokerRefused,
    BrokerRightsMissing,
    BrokerTooOld,
    BrokerUnavailable,
    UnknownQuery,
)
from agentic_flywheel.models import EventKind
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.cli.checkup import check_everything
from producer.stack import start_stack

PASSWORD = "p/w?#@: %+é&=;'\"\\,"


async def everybody_reaches(house: House, url: str, monkeypatch: pytest.MonkeyPatch, *, prefix: str = "") -> None:
    """A worker, a producer, Flower, the check-up and the audit do their work at one address."""
    settings = house.settings.model_copy(update={"redis_url": url, "key_prefix": prefix})
    worker = await asyncio.to_thread(house.worker, redis_url=url, events=True, FLYWHEEL_KEY_PREFIX=prefix)
    flower, process = await asyncio.to_thread(start_flower, house, broker=url, prefix=prefix)
    try:
        async with AsyncProducer(settings) as producer, asyncio.timeout(40):
            answer = await producer.ask("Why does our API time out?", wait=30)
            streamed = (await producer.submit("Which index does this join need?", cache="refresh")).query_id
            kinds = [event.kind async for event in producer.stream(streamed)]
            # Flower may still be connecting, and hears of nothing that was before.
            while not await flower.json("/api/tasks?state=SUCCESS"):
                await producer.ask("Why is the docker build slow?", wait=30, cache="refresh")
        queues = await lengths(flower)
        for name, value in {
            "REDIS_URL": url,
            "FLYWHEEL_KEY_PREFIX": prefix,
            "FLYWHEEL_REGISTRY": house.registry,
            "FLYWHEEL_HOME": house.folder,
        }.items():
            monkeypatch.setenv(name, str(value))
        checks = {check.name: check for check in await check_everything()}
        audited = await audit(settings)
    finally:
        process.kill()

    assert answer.text
    assert kinds[-1] == EventKind.FINAL
    assert {"classify", "domain.technical", "synthesis.low"} <= set(queues)
    assert checks["broker"].state == "ok", checks["broker"]
    assert (f"(prefix {prefix})" in checks["broker"].found) is bool(prefix)
    assert checks["workers"].state == "ok", checks["workers"]
    assert not audited.offenders
    for log in (worker.log, process.log):
        assert PASSWORD not in log
        assert quote(PASSWORD, safe="") not in log


@pytest.mark.timeout(120)
async def test_a_password_of_any_characters_and_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    house.client.config_set("requirepass", PASSWORD)
    house.client.auth(PASSWORD)
    try:
        url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{house.broker.port}/3"
        await everybody_reaches(house, url, monkeypatch)

        assert house.client.dbsize() == 0
    finally:
        house.client.config_set("requirepass", "")
        house.stop()


@pytest.mark.timeout(120)
async def test_a_socket_of_this_machine_with_a_password_and_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "the valkey.sock"
    house = House(tmp_path, broker_options=("--unixsocket", str(socket)))
    house.client.config_set("requirepass", PASSWORD)
    house.client.auth(PASSWORD)
    try:
        login = f"default:{quote(PASSWORD, safe='')}@"
        await everybody_reaches(house, f"unix://{login}{quote(str(socket))}?db=2", monkeypatch)

        assert house.client.dbsize() == 0
    finally:
        house.client.config_set("requirepass", "")
        house.stop()


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
async def test_tls_with_a_private_authority_and_a_certificate_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    try:
        async with tls_before(house.broker.port, tmp_path, mutual=True) as port:
            files = (
                f"ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.key"
            )
            await everybody_reaches(house, f"rediss://127.0.0.1:{port}/0?{files}", monkeypatch)
            await asyncio.to_thread(house.workers[-1].terminate)
    finally:
        house.stop()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
@pytest.mark.parametrize("mutual", [False, True], ids=["for all", "for who shows a certificate"])
async def test_a_server_that_speaks_tls_where_the_address_does_not_is_named(
    mutual: bool, broker_url: str, tmp_path: Path
) -> None:
    """Neither side says it: it looked like a broker that is away, and each process waited for it."""
    async with tls_before(urlsplit(broker_url).port or 0, tmp_path, mutual=mutual) as port:
        with pytest.raises(BrokerRefused, match="it speaks TLS: REDIS_URL has to begin with rediss://"):
            await check_broker(f"redis://:s3cret@127.0.0.1:{port}/0")


async def test_a_server_that_speaks_no_tls_where_the_address_does_is_named(broker_url: str) -> None:
    with pytest.raises(BrokerRefused, match="it speaks no TLS: REDIS_URL has to begin with redis://"):
        await check_broker(broker_url.replace("redis://", "rediss://"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
async def test_a_certificate_that_one_side_does_not_accept_is_named(tmp_path: Path) -> None:
    """It looked like a broker that is away, or as if the authority were not known."""
    with demanding_certificates(tmp_path) as port:
        trusted = f"ssl_ca_certs={tmp_path}/ca.pem"
        for _ in range(4):  # the server's word arrives, or the end of the connection alone
            with pytest.raises(BrokerRefused, match="it does not accept the client's certificate"):
                await check_broker(f"rediss://127.0.0.1:{port}/0?{trusted}")
        with pytest.raises(BrokerRefused, match="its certificate is for another name"):
            await check_broker(f"rediss://localhost:{port}/0?{trusted}")
        with pytest.raises(BrokerRefused, match="its certificate is not trusted here"):
            await check_broker(f"rediss://127.0.0.1:{port}/0")


async def test_a_server_that_is_too_old_takes_no_query_either() -> None:
    """Its scripts would run, and no worker would ever start there."""
    old = HELLO.replace(b"7.2.5", b"6.2.5")
    async with (
        serving(lambda command: old if command[0].upper() == b"HELLO" else b"+OK\r\n") as url,
        AsyncProducer(Settings(redis_url=url)) as producer,
    ):
        with pytest.raises(BrokerTooOld, match=r"Redis 6\.2\.5"):
            await producer.submit("Does anybody read this?")


async def test_a_server_that_closes_or_keeps_silent_is_still_one_that_is_away() -> None:
    """The look whether it speaks the other way is short, and ends."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for serve, scheme in ((close, "redis"), (close, "rediss"), (keep_silent, "rediss")):
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(BrokerUnavailable):
                await check_broker(f"{scheme}://127.0.0.1:{port}/0")


@pytest.mark.timeout(120)
async def test_two_databases_of_one_server_are_two_installations(tmp_path: Path) -> None:
    house = House(tmp_path)
    urls = [house.broker.url, f"redis://127.0.0.1:{house.broker.port}/1"]
    question = "How do I keep two python databases apart?"
    try:
        for url in urls:
            await asyncio.to_thread(house.worker, redis_url=url)
        producers = [AsyncProducer(house.settings.model_copy(update={"redis_url": url})) for url in urls]
        async with producers[0] as one, producers[1] as other:
            answers = [await producer.ask(question, wait=30) for producer in (one, other)]
            again = await other.ask(question, wait=30)
            calls = house.calls(question)
            with pytest.raises(UnknownQuery):
                await other.status(answers[0].query_id)
    finally:
        house.stop()

    assert calls == 2
    assert [answers[0].cached, answers[1].cached, again.cached] == [False, False, True]


#: What docs/redis.md prints for a server that nobody else uses.
ALONE = "~* &* +@all -@dangerous +info"
PACKAGES = ("agentic_flywheel", "producer", "workers", "mcp_bridge")
#: `flywheel forget` and the check-up do without them, and say so.
OPTIONAL = {"BGREWRITEAOF", "CONFIG"}


@pytest.fixture
def client(broker_url: str) -> Iterator[redis.Redis]:
    """Whoever may change users, on the broker that many tests share."""
    with redis.Redis.from_url(broker_url) as client:
        yield client
        client.acl_deluser("flywheel")


def grant(house: House, *rules: str) -> str:
    """Give a user exactly these rules. Returns the address with that user."""
    house.client.execute_command("ACL", "SETUSER", "flywheel", "reset", "on", f">{PASSWORD}", *rules)  # type: ignore[no-untyped-call]
    return f"redis://flywheel:{quote(PASSWORD, safe='')}@127.0.0.1:{house.broker.port}/0"


@pytest.mark.timeout(120)
async def test_a_user_with_the_rules_of_the_docs_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    try:
        url = grant(house, *RULES.split())
        house.client.acl_log_reset()
        await everybody_reaches(house, url, monkeypatch)

        refused = {(each["reason"], each["object"]) for each in house.client.acl_log()}
        assert refused <= {("command", "config|get")}  # of the check-up, which says what it does not know without it
    finally:
        house.stop()


async def refused_by_all(house: House, url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a worker, ``up`` and the check-up say before they refuse this broker."""
    settings = house.settings.model_copy(update={"redis_url": url, "home": house.folder / "another home"})
    worker = await asyncio.to_thread(house.worker, redis_url=url, wait=False)
    assert await asyncio.to_thread(worker.wait, within=30) == 2
    with pytest.raises((BrokerRightsMissing, BrokerRefused)) as refused:
        async with start_stack(settings, on_line=lambda _: None):
            raise AssertionError("it has started")
    for name, value in {"REDIS_URL": url, "FLYWHEEL_HOME": house.folder}.items():
        monkeypatch.setenv(name, str(value))
    (check,) = [check for check in await check_everything() if check.name == "broker"]
    assert check.state == "failed"
    return [worker.log, refused.value.message, check.found]


@pytest.mark.timeout(300)
async def test_a_user_who_lacks_a_rule_is_refused_at_the_start_and_told_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = RULES.split()
    house = House(tmp_path)
    try:
        for granted, lacking in (
            # Whoever forgets the channels gets none.
            ([each for each in rules if not each.startswith("&")], "lacks &flywheel:* &celery-task-meta-* "),
            ([*rules, "-info"], "lacks +info"),
        ):
            url = grant(house, *granted)
            for said in await refused_by_all(house, url, monkeypatch):
                assert lacking in said
                assert PASSWORD not in said
    finally:
        house.stop()


@pytest.mark.timeout(120)
async def test_a_server_of_a_cluster_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path, broker_options=("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
    try:
        for said in await refused_by_all(house, house.broker.url, monkeypatch):
            assert "is in cluster mode, which is not served" in said
    finally:
        house.stop()


@pytest.mark.parametrize(
    ("changed", "lacking"),
    [
        ("-evalsha", ["+evalsha"]),
        ("-eval", ["+eval"]),
        ("-script|load", ["+script|load"]),
        ("-@scripting", ["+script|load", "+evalsha", "+eval"]),
        ("-subscribe", ["+subscribe"]),
        ("-publish", ["+publish"]),
        ("-psubscribe", ["+psubscribe"]),
        ("-xadd", ["+xadd"]),
        ("-@stream -lpos", ["+lpos", "+xadd", "+xinfo|stream", "+xlen", "+xrange", "+xread", "+xrevrange"]),
        ("resetkeys ~flywheel:* ~celery* ~_kombu.* ~unacked* ~*.pidbox*", ["~classify*", "~synthesis*", "~domain.*"]),
        ("resetkeys", [*(rule for rule in RULES.split() if rule.startswith("~"))]),
        ("resetchannels &flywheel:* &celery-task-meta-* &/0.celeryev/* &/0*", ["&/0.celery.pidbox"]),
    ],
)
async def test_each_rule_that_is_missing_is_named(
    client: redis.Redis, broker_url: str, changed: str, lacking: list[str]
) -> None:
    rules = ["reset", "on", ">pw", *RULES.split(), *changed.split()]
    client.execute_command("ACL", "SETUSER", "flywheel", *rules)  # type: ignore[no-untyped-call]

    with pytest.raises(BrokerRightsMissing) as refused:
        await check_broker(broker_url.replace("redis://", "redis://flywheel:pw@"))

    assert sorted(refused.value.rules) == sorted(lacking)


@pytest.mark.parametrize(("gone", "named"), [("XADD", r"lacks \+xadd"), ("EVALSHA", "unknown command 'EVALSHA'$")])
async def test_a_command_that_was_renamed_is_named_at_the_start(tmp_path: Path, gone: str, named: str) -> None:
    server = Valkey(tmp_path, options=("--rename-command", gone, "")).start()
    try:
        with pytest.raises((BrokerRightsMissing, BrokerRefused), match=named):
            await check_broker(server.url)
    finally:
        server.stop()


async def test_a_user_of_a_server_of_its_own_has_every_right(client: redis.Redis, broker_url: str) -> None:
    client.execute_command("ACL", "SETUSER", "flywheel", "reset", "on", ">pw", *ALONE.split())  # type: ignore[no-untyped-call]

    await check_broker(broker_url.replace("redis://", "redis://flywheel:pw@"))  # raises where one is missing


def test_every_command_of_the_product_is_among_those_that_are_asked_for() -> None:
    folder = Path(agentic_flywheel.__file__).parent
    lua = "".join(file.read_text() for file in folder.rglob("*.lua"))
    python = "".join(file.read_text() for package in PACKAGES for file in (folder.parent / package).rglob("*.py"))
    used = set(re.findall(r"redis\.p?call\(['\"](\w+)", lua)) | set(re.findall(r"\.call\(\s*\"([A-Z]+)\"", python))

    assert len(used) > 60
    assert used - commands() == OPTIONAL


def test_the_docs_print_these_rules() -> None:
    page = (Path(agentic_flywheel.__file__).parent.parent / "docs" / "redis.md").read_text()

    assert f">PASSWORD {RULES}\n" in page
    assert f">PASSWORD {ALONE}\n" in page
    assert {rule for rule in RULES.split() if rule[0] in "~&"} == {*key_rules(), *channel_rules(0)}
