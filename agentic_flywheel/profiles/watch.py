"""The profiles in force: read when they are asked for, and never behind their files by more than half a second."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from agentic_flywheel.errors import InvalidProfile, UnknownProfile
from agentic_flywheel.profiles.profile import Profile
from agentic_flywheel.profiles.reading import NAME, SUFFIX, check_profile

logger = logging.getLogger(__name__)

#: Where profiles lie below a working or home folder.
PLACE = Path(".agentic_flywheel") / "domains"

#: A file younger than this may change again without a new time stamp, so it is read again.
_SETTLED = 2_000_000_000  # nanoseconds

_Stamp = tuple[Path, int, int, int]


@dataclass(slots=True)
class _Kept:
    """What is known of one name."""

    look_at: float
    stamp: _Stamp | None = None
    #: In force: a faulty change does not take it away.
    profile: Profile | None = None
    fault: InvalidProfile | None = None


class ProfileWatch:
    """Gives profiles by name: from the named folder, else from the working folder's, then from the home folder's.

    ``get`` costs a microsecond, and reads a changed file in the thread that calls it (about 4 ms per kilobyte).
    """

    def __init__(
        self, explicit: Path | None, *, cwd: Path | None = None, home: Path | None = None, interval: float = 0.5
    ) -> None:
        """``explicit``: the only folder, where one is named. ``interval``: seconds between two looks at a file."""
        self._explicit, self._cwd, self._home, self._interval = explicit, cwd, home, interval
        self._kept: dict[str, _Kept] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that there are, the nearest first."""
        if self._explicit is not None:
            places = [self._explicit.expanduser()]
        else:
            places = [(self._cwd or Path.cwd()) / PLACE, (self._home or Path.home()) / PLACE]
        return tuple(dict.fromkeys(place for place in places if place.is_dir()))

    def get(self, name: str, owner: str) -> Profile:
        """Return a profile that an owner may use.

        Raises UnknownProfile, also where it is not for them; InvalidProfile where its file was faulty from the start.
        """
        kept = self._kept.get(name)
        if kept is None or time.monotonic() >= kept.look_at:
            kept = self._look(name, kept)
        if kept.profile is not None and kept.profile.readable_by(owner):
            return kept.profile
        if kept.profile is None and kept.fault is not None:
            raise InvalidProfile(*kept.fault.args)
        raise UnknownProfile(name, [each.name for each in self.readable(owner)])

    def readable(self, owner: str) -> list[Profile]:
        """Return the profiles that an owner may use, by name. Faulty files are left out."""
        found = []
        for name in self._names():
            kept = self._look(name, self._kept.get(name))
            if kept.profile is not None and kept.profile.readable_by(owner):
                found.append(kept.profile)
        return found

    def faults(self) -> list[InvalidProfile]:
        """Return what is wrong with the files that are refused, the first fault of each."""
        looked = [self._look(name, self._kept.get(name)) for name in self._names()]
        return [kept.fault for kept in looked if kept.fault is not None]

    def _names(self) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in folder.glob(f"*{SUFFIX}")})

    def _look(self, name: str, before: _Kept | None) -> _Kept:
        look_at = time.monotonic() + self._interval
        # A name comes from a query: it never leads elsewhere.
        paths = [folder / f"{name}{SUFFIX}" for folder in self.folders] if NAME.match(name) else []
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            self._kept.pop(name, None)
            return _Kept(look_at)
        stamp = _stamp(path)
        if before is not None and stamp is not None and stamp == before.stamp:
            before.look_at = look_at
            return before
        profile, faults = check_profile(path)
        kept = _Kept(look_at, stamp, profile, faults[0] if faults else None)
        if kept.fault is not None and before is not None and before.profile is not None:
            kept.profile = before.profile
            if before.fault is None or before.fault.args != kept.fault.args:
                logger.error("a profile's change is refused, the one of before stays: %s", kept.fault)
        self._kept[name] = kept
        return kept


def _stamp(path: Path) -> _Stamp | None:
    """Return the file's stamp; None where it tells nothing, because the file is so young that it may not change."""
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < _SETTLED:
        return None
    return path, found.st_mtime_ns, found.st_size, found.st_ino
