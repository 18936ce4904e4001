"""What the path of a setting means, and where a file of ours is looked for that no setting names.

Not every user has a home folder: one that a container or a unit makes up has neither HOME nor an entry among the users.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath


def expanded(path: Path) -> Path:
    """Return a path with ``~`` written out. Raises ValueError where the user that it stands for has no home folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path} begins with ~, and there is no such home folder: write the path out") from None


def file_at(path: Path) -> Path:
    """Return the path of a file that may be there later. Raises ValueError where something else is there.

    A pipe would have whoever opens it wait for ever.
    """
    place = expanded(path)
    if os.path.exists(place) and not os.path.isfile(place):
        raise ValueError(f"{place} is no regular file")
    return place


def folder_at(path: Path) -> Path:
    """Return the path of a folder that may be there later. Raises ValueError where something else is there."""
    place = expanded(path)
    if os.path.exists(place) and not os.path.isdir(place):
        raise ValueError(f"{place} is no folder")
    return place


def is_there(path: Path) -> bool:
    """Return whether something has this name, be it a link that leads nowhere. Raises OSError where nobody may look.

    What is there and cannot be read is refused by its name: whoever put it there means it to be read.
    """
    # Not `exists`: newer Pythons call what they may not look at "not there".
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def home_folder() -> Path | None:
    """Return the home folder of the user; None where there is none, or where HOME is that of another user."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return None if os.path.isdir(home) and not os.access(home, os.X_OK) else home


def nearest(place: PurePath, *, cwd: Path | None = None, home: Path | None = None) -> list[Path]:
    """Return where this may lie, the first that counts first: below the working folder, then below the home folder."""
    folders = (cwd or _working_folder(), home or home_folder())
    return [folder / place for folder in folders if folder is not None]


def _working_folder() -> Path | None:
    """Return the working folder; None where it was deleted meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None
