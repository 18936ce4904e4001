"""Whatever the broker is like, each command ends in time, with a sentence that says it, and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from bad_broker import HELLO, Answers, refuses, says, serving
from processes import REPOSITORY, Valkey, free_port, wait_for
from tls import tls_before

from agentic_flywheel.broker.refusals import REFUSALS, Remedy
from agentic_flywheel.broker.rights import commands as rights
from producer.cli.exits import Exit

from .commands import every_command

SECRET = "s3cretpassword"
#: They ask no broker with what they are given here, or run until they are stopped (tests/stack/test_starting.py).
WITHOUT_BROKER = {
    *("route", "profiles list", "profiles show", "profiles new", "flows", "init", "tokens", "replay report"),
    *("replay diff", "up", "demo", "worker", "mcp", "serve"),
    "replay run",  # it asks until all are answered: tests/replay
}
COMMANDS = [words for words in every_command() if not {words[0], " ".join(words[:2])} & WITHOUT_BROKER]
COMMANDS[COMMANDS.index(("ask", "1"))] = ("ask", "1", "--wait", "1s")
#: What an operator looks with.
LOOKING = [words for words in COMMANDS if " ".join(words[:2]) in {"status", "waiting", "usage", "health", "doctor"}]
#: It checks many things: when one fails, its status is 1, and the sentence is among the others.
CHECKS = ("doctor",)
Ended = dict[tuple[str, ...], tuple[int, str]]


def test_the_commands_of_an_operator_are_walked() -> None:
    assert len(LOOKING) == 5
    assert len(COMMANDS) >= 25


async def walked(
    folder: Path, url: str, commands: Sequence[tuple[str, ...]] = COMMANDS, *, envs: Sequence[Mapping[str, str]] = ({},)
) -> list[Ended]:
    """Return how each command ends with this broker, under each of these environments."""
    folder.mkdir(exist_ok=True)
    (folder / "1").write_text('{"question": "Why?"}\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), "REDIS_URL": url}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).parent / "walking.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=env,
    )
    given = json.dumps([(words, {**each}) for each in envs for words in commands])
    out, err = await process.communicate(given.encode())
    assert process.returncode == 0, err.decode()
    ended = iter([(status, said) for status, said in json.loads(out)])
    return [{words: next(ended) for words in commands} for _ in envs]


def wrong(found: Ended, status: int, told: str) -> Ended:
    """Return the commands that do not end with this status and one sentence that says this."""

    def right(words: tuple[str, ...], code: int, said: str) -> bool:
        if SECRET in said or "Traceback" in said or "should not have happened" in said:
            return False
        lines = said.splitlines() if words == CHECKS else said.splitlines()[:1]
        return code == (Exit.FAILED if words == CHECKS else status) and any(re.search(told, line) for line in lines)

    return {words: each for words, each in found.items() if not right(words, *each)}


def accident(found: Ended) -> Ended:
    """Return the commands that were killed, met a fault of ours, or told a secret."""
    return {
        words: (code, said)
        for words, (code, said) in found.items()
        if code not in (0, 1, 2, 3, Exit.TIMED_OUT)
        or SECRET in said
        or "Traceback" in said
        or "should not have happened" in said
    }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("broken") / "broker").start()
    yield server
    server.stop()


# A real server


@pytest.mark.timeout(300)
async def test_with_a_broker_that_is_well_none_ends_with_a_word_of_it(broker: Valkey, tmp_path: Path) -> None:
    (found,) = await walked(tmp_path, broker.url)

    assert accident(found) == {}
    blamed = {words: each for words, each in found.items() if "The broker at" in each[1] or each[0] == 3}
    assert blamed == {}


@pytest.mark.timeout(300)
async def test_a_login_that_is_refused(broker: Valkey, tmp_path: Path) -> None:
    place = f"127.0.0.1:{broker.port}/0"
    with broker.client() as client:
        client.config_set("requirepass", SECRET)
        try:
            urls = [f"redis://:x{SECRET}@{place}", f"redis://nobody:{SECRET}@{place}", f"redis://{place}"]
            found = await walked(tmp_path, urls[0], envs=[{"REDIS_URL": url} for url in urls])
            found += await walked(tmp_path, f"redis://:{SECRET}@127.0.0.1:{broker.port}/99")
        finally:
            client.config_set("requirepass", "")

    for ended, code in zip(found, ("WRONGPASS", "WRONGPASS", "NOAUTH", "NODB"), strict=True):
        assert wrong(ended, Exit.UNUSABLE, rf"refuses the call \({code}\)") == {}


@pytest.mark.timeout(300)
async def test_a_user_who_lacks_rights(broker: Valkey, tmp_path: Path) -> None:
    """Doctor names them all. Any other command ends as it does with all rights, or says what is refused."""
    subcommands = {"script": "script|load", "xinfo": "xinfo|stream"}
    names = sorted({subcommands.get(each.lower(), each.lower()) for each in rights()})
    # Without one of these it cannot look for the others.
    looked_with = ["eval", "evalsha", "exec", "hello", "multi", "ping", "script|load"]
    others = [each for each in names if each not in looked_with]
    dozens = [others[start : start + 12] for start in range(0, len(others), 12)]
    dozens += [[each] for each in names if each in looked_with]
    looking = [words for words in LOOKING if words != CHECKS]
    users = [*dozens, *([each] for each in names)]
    envs = []
    with broker.client() as client:
        for number, lacking in enumerate(users):
            rules = ["reset", "on", f">{SECRET}", "~*", "&*", "+@all", *(f"-{each}" for each in lacking)]
            client.execute_command("ACL", "SETUSER", f"u{number}", *rules)
            envs.append({"REDIS_URL": f"redis://u{number}:{SECRET}@127.0.0.1:{broker.port}/0"})
        checked = await walked(tmp_path, broker.url, [CHECKS], envs=envs[: len(dozens)])
        (usual,) = await walked(tmp_path, broker.url, looking)
        # A right for each command in turn: each with all would take a minute of a processor.
        found = {
            words: await walked(tmp_path, broker.url, [words], envs=envs[len(dozens) + at :: len(looking)])
            for at, words in enumerate(looking)
        }
        for number in range(len(users)):
            client.acl_deluser(f"u{number}")

    for lacking, ended in zip(dozens, checked, strict=True):
        told = "it lacks" + "".join(rf"(?=.* \+{re.escape(each)}(?: |$))" for each in lacking)
        assert wrong(ended, Exit.FAILED, told) == {}, lacking
    for at, (words, ends) in enumerate(found.items()):
        for name, ended in zip(names[at :: len(looking)], ends, strict=True):
            assert accident(ended) == {}, name
            changed = {each: end for each, end in ended.items() if end[0] != usual[words][0]}
            assert wrong(changed, Exit.UNUSABLE, r"refuses the call \(NOPERM\)") == {}, name


@pytest.mark.timeout(300)
async def test_a_broker_that_takes_no_writes(broker: Valkey, tmp_path: Path) -> None:
    """Looking works where the server answers; what cannot be carried out says why, and that it may pass."""
    full, replica = Valkey(tmp_path / "full").start(), Valkey(tmp_path / "replica").start()
    try:
        with full.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
        with replica.client() as client:
            client.replicaof("127.0.0.1", str(broker.port))
            wait_for(lambda: dict(client.info("replication"))["master_link_status"] == "up", what="a copy")
        usual, when_full, on_replica = await walked(
            tmp_path, broker.url, envs=[{}, {"REDIS_URL": full.url}, {"REDIS_URL": replica.url}]
        )
        with replica.client() as client:
            client.config_set("replica-serve-stale-data", "no")
            client.replicaof("127.0.0.1", str(free_port()))
        (cut_off,) = await walked(tmp_path, replica.url)
    finally:
        full.stop()
        replica.stop()

    for found, told in ((when_full, r"its memory is full|used of 1B"), (on_replica, "it is a replica|, a replica, ")):
        assert accident(found) == {}
        # What another command has made on the usual broker is on none of these.
        changed = {
            words: each
            for words, each in found.items()
            if words == CHECKS or (each[0] not in (0, usual[words][0]) and "There is no session" not in each[1])
        }
        assert wrong(changed, Exit.UNAVAILABLE, told) == {}
        assert ("submit", "1") in changed
        assert not changed.keys() & set(LOOKING) - {CHECKS}
    assert wrong(cut_off, Exit.UNAVAILABLE, "it is a replica") == {}


@pytest.mark.timeout(300)
async def test_a_broker_that_is_paused(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "paused").start()
    try:
        with server.client() as client:
            client.client_pause(timeout=600_000, all=True)
        (found,) = await walked(tmp_path, server.url)
    finally:
        server.kill()

    assert wrong(found, Exit.UNAVAILABLE, "gave no answer: ") == {}


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
async def test_tls_where_there_is_none_and_none_where_there_is(broker: Valkey, tmp_path: Path) -> None:
    async with tls_before(broker.port, tmp_path) as port:
        urls = [f"redis://127.0.0.1:{port}/0", f"rediss://127.0.0.1:{port}/0", f"rediss://127.0.0.1:{broker.port}/0"]
        plain, untrusted, none = await walked(tmp_path / "tls", "", LOOKING, envs=[{"REDIS_URL": url} for url in urls])

    # Neither side says what it takes the other for: one hangs up, one waits for the rest of what it takes for a call.
    assert wrong(plain, Exit.UNUSABLE, "it speaks TLS: REDIS_URL has to begin with rediss://") == {}
    assert wrong(none, Exit.UNUSABLE, "it speaks no TLS: REDIS_URL has to begin with redis://") == {}
    assert wrong(untrusted, Exit.UNUSABLE, "its certificate is not trusted here") == {}


# A server that does one thing wrong


def old(command: list[bytes]) -> bytes:
    """Greet as Redis 6.2 does, which would take most calls of ours."""
    return HELLO.replace(b"7.2.5", b"6.2.5") if command[0].upper() == b"HELLO" else b"+OK\r\n"


WRONG: dict[str, tuple[Answers, int, str]] = {
    "of an old version": (old, Exit.UNUSABLE, "The broker is Redis 6.2.5"),
    "another product": (
        says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        Exit.UNUSABLE,
        r"refuses the call \(UNREADABLE\)",
    ),
    "accepts and never answers": (says(None), Exit.UNAVAILABLE, "gave no answer: "),
    "answers the handshake and nothing else": (says(None, at_once=False), Exit.UNAVAILABLE, "gave no answer: "),
    "hangs up": (says(b""), Exit.UNAVAILABLE, "gave no answer: "),
}


@asynccontextmanager
async def all_serving(servers: Sequence[Answers]) -> AsyncIterator[list[dict[str, str]]]:
    """Serve each during the block. Yields the environments that lead to them."""
    async with AsyncExitStack() as stack:
        yield [{"REDIS_URL": await stack.enter_async_context(serving(each))} for each in servers]


@pytest.mark.timeout(300)
async def test_a_server_that_is_no_broker_of_ours(tmp_path: Path) -> None:
    async with all_serving([answers for answers, _, _ in WRONG.values()]) as envs:
        found = await walked(tmp_path, "", envs=envs)

    for (name, (_, status, told)), ended in zip(WRONG.items(), found, strict=True):
        assert (name, wrong(ended, status, told)) == (name, {})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("at_once", [True, False], ids=["at the handshake", "after it"])
async def test_every_refusal(at_once: bool, tmp_path: Path) -> None:
    """Each of the table of refusals, such as of a broker that loads its data or whose disk is full."""
    refusals = [each for each in REFUSALS if each.code != "WRONGTYPE"]  # of one key: see tests/producer
    servers = [refuses(f"{each.code} said the server", at_once=at_once) for each in refusals]
    async with all_serving(servers) as envs:
        found = await walked(tmp_path, "", LOOKING, envs=envs)

    for each, ended in zip(refusals, found, strict=True):
        status = Exit.UNUSABLE if each.remedy is Remedy.PERSON else Exit.UNAVAILABLE
        # The check-up looks which right it is.
        told = re.escape(each.meaning) + ("|it lacks [+]" if each.code == "NOPERM" else "")
        assert (each.code, wrong(ended, status, told)) == (each.code, {})
