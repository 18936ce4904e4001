"""What was installed with this package: a client alone, or also what its extras bring."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from agentic_flywheel.errors import PackageMissing
from agentic_flywheel.installation import NAME

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: Extras that only gather others.
_GATHERING = frozenset({"all", "test"})


def declared(extra: str = "") -> list[Requirement]:
    """Return what the package requires on this machine, or what one extra of it adds."""
    from packaging.requirements import Requirement  # takes a command's start 14 ms that needs none of it

    found = [Requirement(line) for line in metadata.requires(NAME) or ()]
    here = [each for each in found if each.marker is None or each.marker.evaluate({"extra": extra})]
    return [each for each in here if ("extra ==" in str(each.marker)) == bool(extra)]


def extras() -> list[str]:
    """Return the names of the extras, those that only gather others left out."""
    named = metadata.metadata(NAME).get_all("Provides-Extra") or ()
    return [name for name in named if name not in _GATHERING]


def missing(module: str, what: str) -> PackageMissing | None:
    """Return the error for a module that cannot be imported; None where no extra brings it. ``what`` needs it."""
    package = module.partition(".")[0].replace("_", "-")
    for extra in extras():
        if any(each.name == package for each in declared(extra)):
            return PackageMissing(package, extra, what)
    return None


def lacks(module: str, what: str) -> PackageMissing | None:
    """Return the error where a module of an extra is not installed. ``what``: the subject of a sentence."""
    return missing(module, what) if find_spec(module) is None else None


def need(module: str, what: str) -> None:
    """Raise PackageMissing where a module of an extra is not installed. ``what``: the subject of a sentence."""
    if error := lacks(module, what):
        raise error
