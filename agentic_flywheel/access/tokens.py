"""The tokens in force: those of the file, which is read again when it changes, and those of the environment."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from agentic_flywheel.access.file import (
    StoredToken,
    digest_of,
    id_of,
    parsed,
    read_content,
    read_file,
    read_revoked,
    revoked_path,
)
from agentic_flywheel.access.grant import Grant
from agentic_flywheel.errors import InvalidTokens

logger = logging.getLogger(__name__)

#: A file younger than this may change again without a new time stamp, so its content is read again. Nanoseconds.
_SETTLED = 2_000_000_000
#: Compared with where no token has the id: a wrong id takes as long as a wrong token.
_NOBODYS = "0" * 64

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Tokens:
    """Says who comes with a token. A changed file counts within ``interval`` seconds."""

    def __init__(
        self, path: Path | None = None, fixed: Mapping[str, Grant] | None = None, *, interval: float = 0.25
    ) -> None:
        """Read the file. ``fixed``: what other tokens allow, by their digest. Raises InvalidTokens."""
        self._path, self._fixed, self._interval = path, dict(fixed or {}), interval
        self._fixed_ids = {grant.token_id for grant in self._fixed.values()}
        self._stored: dict[str, StoredToken] = {}
        self._gone: frozenset[str] = frozenset()
        self._stamp: _Stamp | None = None
        self._fault: InvalidTokens | None = None
        if path is not None:
            self._stamp, self._gone = _stamp(path), read_revoked(path)
            self._stored = {each.id: each for each in read_file(path).tokens}
        self._ever = bool(self._stored or self._fixed)
        self._next_look = time.monotonic() + interval

    @property
    def needed(self) -> bool:
        """Whether nobody comes in without a token: from the first token on, also when all are gone again."""
        self._look()
        return self._ever

    @property
    def fault(self) -> InvalidTokens | None:
        """Why the file as it was last seen is not in force; None where it is."""
        self._look()
        return self._fault

    def find(self, token: str) -> Grant | None:
        """Return what a token allows; None where it is unknown, expired or revoked."""
        self._look()
        digest = digest_of(token)
        stored = self._stored.get(id_of(token) or "")
        matches = hmac.compare_digest(digest, stored.digest if stored is not None else _NOBODYS)
        if stored is not None and matches:
            return None if stored.grant.expired else stored.grant
        # All are compared, so how long it takes says nothing of how near a guess is.
        found = [grant for known, grant in self._fixed.items() if hmac.compare_digest(digest, known)]
        return found[0] if found else None

    def holds(self, token_id: str) -> bool:
        """Whether the token with this id still lets somebody in; the empty id: whether none is needed."""
        self._look()
        if token_id in self._fixed_ids:
            return True
        stored = self._stored.get(token_id)
        return not self._ever if not token_id else stored is not None and not stored.grant.expired

    def _look(self) -> None:
        if self._path is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._interval
        stamp = _stamp(self._path)
        if stamp == self._stamp and None not in stamp:
            return
        try:
            # What is revoked counts also where the file is faulty.
            self._gone |= read_revoked(self._path)
            self._stored = {each.id: each for each in parsed(self._path, read_content(self._path)).tokens}
            self._stamp, fault = stamp, None
        except InvalidTokens as refused:
            fault = refused
        self._stored = {name: each for name, each in self._stored.items() if name not in self._gone}
        self._ever = self._ever or bool(self._stored)
        if str(fault) != str(self._fault):
            if fault is not None:
                logger.error("a change of the tokens is refused, those of before stay: %s", fault)
            else:
                logger.info("the tokens in %s are in force: %d", self._path, len(self._stored))
        self._fault = fault


def _stamp(path: Path) -> _Stamp:
    """Return what tells changed files from unchanged ones; None for one so young that it may not tell."""
    return tuple(map(_stamp_of, (path, revoked_path(path))))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    if time.time_ns() - found.st_mtime_ns < _SETTLED:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
