"""Where the registry is: the file that is named, else the nearest one, else the bundled one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.errors.given import WHOLE_FILE
from agentic_flywheel.places import is_there, nearest
from agentic_flywheel.registry.document import unreadable

#: Where a registry lies below a working or home folder.
PLACE = Path(".agentic_flywheel") / "flow-registry.yaml"


def bundled_registry() -> Path:
    """Return the registry that comes with the package; it is never written."""
    return Path(str(files("agentic_flywheel") / PLACE.name))


def find_registry(explicit: Path | None, *, cwd: Path | None = None, home: Path | None = None) -> Path:
    """Return the first registry there is: the named one, the working folder's, the home folder's, the bundled one.

    Raises InvalidRegistry where a named file does not exist, or where this user may not look whether one does.
    """
    if explicit is not None:
        if not _is_there(explicit):
            remedy = "Put the file there, or correct FLYWHEEL_REGISTRY, or the option that names it."
            raise InvalidRegistry(str(explicit), 1, WHOLE_FILE, "does not exist", remedy)
        return explicit
    return next((path for path in nearest(PLACE, cwd=cwd, home=home) if _is_there(path)), bundled_registry())


def _is_there(path: Path) -> bool:
    try:
        return is_there(path)
    except OSError as refused:
        raise unreadable(path, refused) from None
