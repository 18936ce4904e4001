"""The file of tokens: hashes of them, never themselves; written whole or not at all, one writer at a time.

Beside it a second file has the ids of revoked tokens, a line each. It is only ever appended to, and holds whatever the
first file says: an old copy that is put back, or a fault in it, brings no revoked token back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError, model_validator

from agentic_flywheel.access.grant import Grant, Scope, owner_of
from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.errors import InvalidTokens, UnknownToken
from agentic_flywheel.models import Model
from agentic_flywheel.settings import Settings
from agentic_flywheel.whole_files import replacing

#: Most tokens of a file, and its most bytes.
MOST_TOKENS, MOST_BYTES = 10_000, 8 * 2**20
_PREFIX = "fwt"
#: Random bytes of a token: 256 bits need no slow hash.
_SECRET_BYTES = 32
_ID = re.compile(r"[0-9a-f]{8}")
#: How a person names a token: by its id, or by so much of the token as has the id.
_NAMED = re.compile(rf"\s*(?:{_PREFIX}_)?([0-9a-f]{{8}})(?:_.*)?\s*", re.DOTALL)
_TOKEN = re.compile(rf"{_PREFIX}_([0-9a-f]{{8}})_[A-Za-z0-9_-]{{43}}")


class StoredToken(Model):
    """A token as the file has it."""

    id: Annotated[str, Field(pattern=rf"^{_ID.pattern}$")]
    #: SHA-256 of the token.
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    owner: Annotated[str, AfterValidator(owner_of)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    note: Annotated[str, Field(max_length=200)] = ""
    limits: OwnLimits = OwnLimits()

    @property
    def grant(self) -> Grant:
        return Grant(
            token_id=self.id,
            owner=self.owner,
            scopes=frozenset(self.scopes),
            expires=self.expires,
            limits=self.limits,
        )


class TokenFile(Model):
    """All of a file."""

    version: Literal[1] = 1
    tokens: Annotated[tuple[StoredToken, ...], Field(max_length=MOST_TOKENS)] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        ids = [token.id for token in self.tokens]
        if twice := sorted({each for each in ids if ids.count(each) > 1} if len(set(ids)) < len(ids) else ()):
            raise ValueError(f"the id {twice[0]} is there twice")
        return self


class NewToken(NamedTuple):
    """A token that was made: the only time that its text is known."""

    text: str
    stored: StoredToken


class Revocation(NamedTuple):
    """What became of tokens that were to be revoked."""

    revoked: tuple[str, ...]
    unknown: tuple[UnknownToken, ...]
    #: Why the file of tokens could not be read; None where it could.
    fault: InvalidTokens | None


def tokens_path(settings: Settings) -> Path:
    """Return where the file of tokens is."""
    return settings.tokens_file or settings.home / "tokens.json"


def revoked_path(path: Path) -> Path:
    """Return where the ids of revoked tokens are."""
    return path.with_name(f"{path.name}.revoked")


def id_of(token: str) -> str | None:
    """Return the id in a token's text; None where it is no token of ours."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def digest_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_file(path: Path) -> TokenFile:
    """Return a file's tokens, without those that were revoked; none where there is no file. Raises InvalidTokens."""
    gone = read_revoked(path)
    found = parsed(path, read_content(path))
    return found.model_copy(update={"tokens": tuple(each for each in found.tokens if each.id not in gone)})


def read_content(path: Path) -> bytes | None:
    """Return a file's content; None where there is no file. Raises InvalidTokens."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
                raise InvalidTokens(str(path), "others than its owner may write to it: chmod 600")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as refused:
        raise InvalidTokens(str(path), f"it cannot be read: {refused.strerror}") from None
    if len(content) > MOST_BYTES:
        raise InvalidTokens(str(path), f"it has more than {MOST_BYTES:,} bytes")
    return content


def read_revoked(path: Path) -> frozenset[str]:
    """Return the ids of the tokens that were revoked. Raises InvalidTokens."""
    gone = revoked_path(path)
    try:
        lines = gone.read_text("ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    except OSError as refused:
        raise InvalidTokens(str(gone), f"it cannot be read: {refused.strerror}") from None
    return frozenset(filter(_ID.fullmatch, lines))


def parsed(path: Path, content: bytes | None) -> TokenFile:
    """Return what a content says. Raises InvalidTokens, which shows nothing of a value."""
    if content is None:
        return TokenFile()
    try:
        return TokenFile.model_validate_json(content)
    except ValidationError as refused:
        first = refused.errors(include_input=False, include_url=False, include_context=False)[0]
        where = _place(first["loc"], content)
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidTokens(str(path), f"{where}: {said}" if where else said) from None


def _place(loc: tuple[int | str, ...], content: bytes) -> str:
    """Return where in the file a fault is: which token, by its place and its id, and which of its keys."""
    if len(loc) < 2 or loc[0] != "tokens" or not isinstance(loc[1], int):
        return ".".join(map(str, loc))
    entry = json.loads(content)["tokens"][loc[1]]
    token_id = entry.get("id") if isinstance(entry, dict) else None
    named = f" (id {token_id})" if isinstance(token_id, str) and _ID.fullmatch(token_id) else ""
    key = ".".join(map(str, loc[2:]))
    return f"token {loc[1] + 1}{named}" + (f", {key}" if key else "")


def new_token(
    path: Path,
    owner: str,
    scopes: tuple[Scope, ...],
    *,
    expires: datetime | None = None,
    note: str = "",
    limits: OwnLimits | None = None,
) -> NewToken:
    """Make a token and keep its hash. Raises InvalidTokens."""
    with _locked(path):
        found = read_file(path)
        taken = {each.id for each in found.tokens} | read_revoked(path)
        token_id = next(each for each in iter(lambda: secrets.token_hex(4), "") if each not in taken)
        text = f"{_PREFIX}_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        stored = StoredToken(
            id=token_id,
            digest=digest_of(text),
            owner=owner,
            scopes=scopes,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=expires,
            note=note,
            limits=limits or OwnLimits(),
        )
        _write(path, TokenFile(tokens=(*found.tokens, stored)))
    return NewToken(text, stored)


def revoke(path: Path, given: Sequence[str]) -> Revocation:
    """Have tokens let nobody in any more, for ever: those that are there. A whole token stands for its id.

    In a faulty file nobody can see which there are: then every id counts, in the second file, and the first one stays.
    Raises InvalidTokens where that cannot be written.
    """
    ids = dict.fromkeys(match[1] if (match := _NAMED.fullmatch(each)) else "" for each in given)
    with _locked(path):
        try:
            found, fault = read_file(path), None
        except InvalidTokens as refused:
            found, fault = TokenFile(), refused
        known = {each.id for each in found.tokens} if fault is None else ids.keys() - {""}
        revoked = tuple(each for each in ids if each in known)
        # This first: from here on they are gone, whatever becomes of the rest.
        with open(os.open(revoked_path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as gone:
            gone.write("".join(f"{each}\n" for each in revoked))
            gone.flush()
            os.fsync(gone.fileno())
        if fault is None and revoked:
            _write(path, TokenFile(tokens=tuple(each for each in found.tokens if each.id not in known & ids.keys())))
    return Revocation(revoked, tuple(UnknownToken(each) for each in ids if each not in known), fault)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file's writers: a file of its own, because the other is replaced. The kernel frees it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as refused:
        raise InvalidTokens(str(path), f"it cannot be written: {refused.strerror}") from None


def _write(path: Path, content: TokenFile) -> None:
    """Replace a file by another that only its owner may read."""
    written = json.dumps({"version": 1, **content.model_dump(mode="json", exclude_defaults=True)}, indent=1) + "\n"
    with replacing(path, 0o600) as file:
        file.write(written.encode())
