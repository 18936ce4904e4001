"""A token lets in whom it was made for, until it expires or is revoked, whatever becomes of its file."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.access.environment import read_tokens
from agentic_flywheel.access.file import NewToken, new_token, read_file, revoke, revoked_path
from agentic_flywheel.access.grant import Scope
from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.errors import InvalidSetting, InvalidTokens
from agentic_flywheel.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "tokens.json"


def made(path: Path, owner: str = "alice", *scopes: Scope, **given: Any) -> NewToken:
    return new_token(path, owner, scopes or (Scope.ASK,), **given)


def watched(path: Path) -> Tokens:
    return Tokens(path, interval=0.0)


def test_the_file_has_hashes_and_belongs_to_its_owner_alone(path: Path) -> None:
    token = made(path, note="a note", limits=OwnLimits(under_way=3))
    stored = path.read_text()

    assert path.stat().st_mode & 0o777 == 0o600
    assert token.text not in stored
    assert token.text.split("_", 2)[2] not in stored
    assert len(token.text.split("_", 2)[2]) * 6 >= 192  # bits
    grant = watched(path).find(token.text)
    assert grant is not None
    assert (grant.owner, set(grant.scopes), grant.limits) == ("alice", {Scope.ASK}, OwnLimits(under_way=3))
    for other in ("", token.text[:-1], token.text + "x", token.text.swapcase(), f"fwt_00000000_{'x' * 43}", "\udcff"):
        assert watched(path).find(other) is None


def test_a_change_counts_without_a_restart(path: Path) -> None:
    tokens = watched(path)
    assert not tokens.needed
    first, second = made(path), made(path, "bob", Scope.READ)
    assert tokens.needed
    assert [grant and grant.owner for grant in map(tokens.find, (first.text, second.text))] == ["alice", "bob"]

    revoke(path, [first.stored.id])

    assert tokens.find(first.text) is None
    assert not tokens.holds(first.stored.id)
    assert tokens.holds(second.stored.id)
    revoke(path, [second.stored.id])
    assert tokens.needed  # the last one gone opens nothing
    assert tokens.find("") is None
    assert not tokens.holds("")


def test_a_token_expires(path: Path) -> None:
    late = made(path, expires=datetime.now(UTC) - timedelta(seconds=1))
    early = made(path, expires=datetime.now(UTC) + timedelta(hours=1))
    tokens = watched(path)

    assert tokens.find(late.text) is None
    assert not tokens.holds(late.stored.id)
    assert tokens.find(early.text) is not None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "EOF"),
        ("[]", "object"),
        ('{"version": 2}', "version"),
        ('{"tokens": [{"id": "x"}]}', "token 1, id"),
        ('{"unknown": 1}', "unknown"),
        ("\ud83d", "UTF-8|unicode|invalid|expected"),
    ],
)
def test_a_faulty_file_is_refused_by_its_name(path: Path, content: str, told: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content.encode("utf-8", "surrogatepass"))

    with pytest.raises(InvalidTokens, match=told) as refused:
        Tokens(path)
    assert str(path) in refused.value.message


def test_a_file_that_others_may_write_to_is_refused(path: Path) -> None:
    made(path)
    path.chmod(0o622)

    with pytest.raises(InvalidTokens, match="chmod 600"):
        Tokens(path)


def test_a_faulty_change_keeps_what_was_and_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = made(path)
    tokens = watched(path)
    path.write_text("{" + path.read_text())
    with caplog.at_level(logging.ERROR):
        found = [tokens.find(token.text) for _ in range(3)]

    assert all(found)
    assert tokens.fault is not None
    assert len(caplog.records) == 1
    assert "refused" in caplog.text
    assert token.stored.digest not in caplog.text


def test_a_revoked_token_never_comes_back(path: Path) -> None:
    token, other = made(path), made(path, "bob")
    before = path.read_text()
    tokens = watched(path)
    revoke(path, [token.stored.id])
    # A fault that is there before the revocation was seen, and then the old copy put back.
    path.write_text("{" + before)
    assert tokens.find(token.text) is None
    assert tokens.find(other.text) is not None
    path.write_text(before)
    assert tokens.find(token.text) is None
    assert watched(path).find(token.text) is None
    assert [each.id for each in read_file(path).tokens] == [other.stored.id]
    # What one process has seen revoked stays so there, also where somebody clears that list.
    revoked_path(path).unlink()
    assert tokens.find(token.text) is None


def test_a_file_that_is_gone_lets_nobody_in(path: Path) -> None:
    token = made(path)
    tokens = watched(path)
    path.unlink()

    assert tokens.needed
    assert tokens.find(token.text) is None


def test_writers_at_once_lose_nothing(path: Path) -> None:
    threads = [threading.Thread(target=lambda n=n: made(path, f"owner{n}")) for n in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert {each.owner for each in read_file(path).tokens} == {f"owner{n}" for n in range(12)}


def test_what_there_is_is_revoked_beside_what_there_is_not(path: Path) -> None:
    token, other = made(path), made(path, "bob")
    done = revoke(path, ["00000000", token.stored.id, "no id at all"])

    assert done.revoked == (token.stored.id,)
    assert [each.token_id for each in done.unknown] == ["00000000", ""]
    assert [each.id for each in read_file(path).tokens] == [other.stored.id]


def test_a_token_is_revoked_while_its_file_is_faulty(path: Path) -> None:
    token, other = made(path), made(path, "bob")
    tokens, before = watched(path), path.read_text()
    path.write_text("{" + before)
    done = revoke(path, [token.stored.id])

    assert (done.revoked, done.unknown) == ((token.stored.id,), ())
    assert done.fault is not None
    assert tokens.find(token.text) is None
    assert tokens.find(other.text) is not None
    assert path.read_text() == "{" + before
    path.write_text(before)
    assert [each.id for each in read_file(path).tokens] == [other.stored.id]


def test_the_settings_name_the_file_and_further_tokens(path: Path) -> None:
    token = made(path, "alice", Scope.ASK)
    settings = Settings(home=path.parent, mcp_tokens="bob=bob-0123456789abcdef")
    tokens = read_tokens(settings)
    bob = tokens.find("bob-0123456789abcdef")

    assert tokens.find(token.text) is not None
    assert bob is not None
    assert bob.scopes == {Scope.ASK, Scope.READ, Scope.MANAGE}
    assert tokens.holds(bob.token_id)
    elsewhere = Settings(home=path.parent.parent, tokens_file=path)
    assert read_tokens(elsewhere).find(token.text) is not None


def flywheel(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("flywheel")), *arguments]
    env = {"PATH": "", "FLYWHEEL_HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False)


def test_the_command_shows_a_token_once(tmp_path: Path) -> None:
    new = flywheel(tmp_path, "tokens", "new", "alice", "--expires", "90d", "--calls-a-day", "5", "--note", "hers")
    token = new.stdout.strip()
    listed = flywheel(tmp_path, "tokens", "list", "--json")
    (one,) = map(json.loads, listed.stdout.splitlines())
    shown = flywheel(tmp_path, "tokens", "list").stdout

    assert re.fullmatch(r"fwt_[0-9a-f]{8}_[\w-]{43}", token)
    assert (one["owner"], one["scopes"], one["limits"]) == ("alice", ["ask", "read"], {"calls_a_day": 5})
    assert one["id"] in shown
    assert "hers" in shown
    for said in (listed.stdout, shown):
        assert token not in said
        assert read_file(tmp_path / "tokens.json").tokens[0].digest not in said
    gone = flywheel(tmp_path, "tokens", "revoke", one["id"], "--json")
    assert json.loads(gone.stdout) == {"id": one["id"], "revoked": True}
    assert flywheel(tmp_path, "tokens", "list", "--json").stdout == ""
    assert flywheel(tmp_path, "tokens", "revoke", one["id"]).returncode == 2


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_the_command_revokes_what_there_is_names_the_rest_and_shows_no_token(
    tmp_path: Path, as_json: list[str]
) -> None:
    path = tmp_path / "tokens.json"
    first, second = made(path), made(path, "bob")
    setting = "bob-0123456789abcdef"
    done = flywheel(tmp_path, "tokens", "revoke", "00000000", first.text, second.stored.id, setting, *as_json)
    said = done.stdout + done.stderr

    assert done.returncode == 2
    assert read_file(path).tokens == ()
    for each in (first.stored.id, second.stored.id, "00000000", "no id of a token"):
        assert each in said
    assert first.text.split("_", 2)[2] not in said
    assert setting not in said
    path.write_text("{")
    assert flywheel(tmp_path, "tokens", "revoke", "0000000a", *as_json).returncode == 0
    again = flywheel(tmp_path, "tokens", "revoke", first.text[:20], *as_json)
    assert first.stored.id in again.stdout
    assert first.text[:20] not in again.stdout + again.stderr


@pytest.mark.parametrize(
    "options",
    [["--scope", "everything"], ["--expires", "2020-01-01"], ["--expires", "soon"], ["--bytes-under-way", "3"]],
)
def test_what_the_command_cannot_take_is_refused(tmp_path: Path, options: list[str]) -> None:
    refused = flywheel(tmp_path, "tokens", "new", "alice", *options)

    assert refused.returncode == 2
    assert options[0] in refused.stderr
    assert not (tmp_path / "tokens.json").exists()


@pytest.mark.parametrize("owner", ["local", "replay"])
def test_nobody_comes_in_as_who_asks_on_this_machine(tmp_path: Path, owner: str) -> None:
    path = tmp_path / "tokens.json"
    refused = flywheel(tmp_path, "tokens", "new", owner)

    assert refused.returncode == 2
    assert f"{owner} is who asks on this machine" in " ".join(refused.stderr.replace("│", " ").split())
    assert not path.exists()
    with pytest.raises(InvalidSetting, match="who asks on this machine"):
        read_tokens(Settings(home=tmp_path, mcp_tokens=SecretStr(f"{owner}=bob-0123456789abcdef")))
    made(path)
    path.write_text(path.read_text().replace('"alice"', f'"{owner}"'))
    with pytest.raises(InvalidTokens, match=r"token 1( \(id [0-9a-f]{8}\))?, owner: .*who asks on this machine"):
        Tokens(path)
