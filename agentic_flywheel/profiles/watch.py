"""The profiles in use. A changed file is read when its profile is next asked for, after half a second at most."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentic_flywheel.errors import InvalidProfile, UnknownProfile
from agentic_flywheel.places import is_there, nearest
from agentic_flywheel.profiles.profile import Profile
from agentic_flywheel.profiles.reading import NAME, SUFFIX, check_profile, unreadable_profile

logger = logging.getLogger(__name__)

#: The folder of profiles, below the working folder or the home folder.
PLACE = Path(".agentic_flywheel") / "domains"

#: Age of a file, in nanoseconds, from which its time stamp is trusted. A younger file may change again within the same
#: time stamp, so it is read at every look.
_SETTLED = 2_000_000_000

_Stamp = tuple[Path, int, int, int]


@dataclass(slots=True)
class _Kept:
    """The latest look at the file of one profile."""

    look_at: float
    stamp: _Stamp | None = None
    #: The profile in use. A faulty change of the file does not remove it.
    profile: Profile | None = None
    fault: InvalidProfile | None = None


class ProfileWatch:
    """Finds profiles by name in the folder that is set, or in those of the working folder and the home folder.

    ``get`` takes a microsecond. Where the file has changed it reads the file in the calling thread, which takes about
    4 ms per kilobyte.
    """

    def __init__(
        self, explicit: Path | None, *, cwd: Path | None = None, home: Path | None = None, interval: float = 0.5
    ) -> None:
        """``explicit``: the folder that is set, if any. ``interval``: seconds between two looks at a file."""
        self._explicit, self._cwd, self._home, self._interval = explicit, cwd, home, interval
        self._kept: dict[str, _Kept] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of profiles that exist. A profile in an earlier folder hides one of the same name in a later."""
        places = [self._explicit] if self._explicit is not None else nearest(PLACE, cwd=self._cwd, home=self._home)
        return tuple(dict.fromkeys(place for place in places if os.path.isdir(place)))

    def get(self, name: str, owner: str) -> Profile:
        """Return a profile that an owner may use.

        Raises UnknownProfile where there is none, or where the owner may not use it; InvalidProfile where its file is
        faulty and no earlier version of it was valid.
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
        return [profile for profile in self.valid() if profile.readable_by(owner)]

    def valid(self) -> list[Profile]:
        """Return all profiles, by name. Faulty files are left out."""
        looked = [self._look(name, self._kept.get(name)) for name in self._names()]
        return [kept.profile for kept in looked if kept.profile is not None]

    def faults(self) -> list[InvalidProfile]:
        """Return the first fault of each file that is refused, and the folders that cannot be listed."""
        looked = [self._look(name, self._kept.get(name)) for name in self._names()]
        return [*self._hidden(), *(kept.fault for kept in looked if kept.fault is not None)]

    def _names(self) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in folder.glob(f"*{SUFFIX}")})

    def _hidden(self) -> Iterator[InvalidProfile]:
        """Yield a fault for each folder whose files this user may not list."""
        for folder in self.folders:
            try:
                os.scandir(folder).close()
            except OSError as refused:
                yield unreadable_profile(folder, refused)

    def _look(self, name: str, before: _Kept | None) -> _Kept:
        look_at = time.monotonic() + self._interval
        # The name comes from a query, so it must not lead to a file in another folder.
        paths = [folder / f"{name}{SUFFIX}" for folder in self.folders] if NAME.match(name) else []
        path = next((path for path in paths if _may_be_there(path)), None)
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


def _may_be_there(path: Path) -> bool:
    try:
        return is_there(path)
    except OSError:  # its reader says why it cannot be seen
        return True


def _stamp(path: Path) -> _Stamp | None:
    """Return the file's stamp; None where it cannot be trusted yet, because the file was changed a moment ago."""
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < _SETTLED:
        return None
    return path, found.st_mtime_ns, found.st_size, found.st_ino
