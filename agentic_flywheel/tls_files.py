"""What the variables name that OpenSSL and Python's own TLS read: looked at before a library opens it.

A library trusts no server where a variable names nothing, and says nothing of it. A pipe it opens while it is imported,
and waits for ever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from agentic_flywheel.regular_files import open_regular

#: With what each certificate in a file of authorities begins.
_BEGIN = b"-----BEGIN "


def check_tls_files(environment: MutableMapping[str, str]) -> None:
    """Raise ValueError, with the variable's name and the reason, where one of them names nothing usable.

    One that is empty is taken out: OpenSSL would take it for the name of a file, and trust nobody.
    """
    for name, fault_in in _CHECKS.items():
        if name not in environment:
            continue
        if not environment[name].strip():
            del environment[name]
        elif fault := fault_in(environment[name]):
            raise ValueError(name, fault)


def _no_authorities(given: str) -> str:
    try:
        with open_regular(Path(given)) as file:
            return "" if _BEGIN in file.read() else f"{given} holds no certificate"
    except OSError as refused:
        return f"{given} cannot be read: {refused.strerror or refused}"


def _no_folders(given: str) -> str:
    """Look at folders, of which some may be missing: one variable serves for several kinds of systems."""
    folders = [each for each in given.split(os.pathsep) if os.path.exists(each)]
    if wrong := next((each for each in folders if not os.path.isdir(each)), None):
        return f"{wrong} is no folder"
    if not folders:
        return f"there is no folder {given}"
    return "" if any(os.access(each, os.R_OK | os.X_OK) for each in folders) else f"this user may not read {given}"


def _not_to_be_written(given: str) -> str:
    there = os.path.exists(given)
    if there and (os.path.isdir(given) or stat.S_ISFIFO(os.stat(given).st_mode)):
        return f"{given} is no file that can be written to its end"
    place = given if there else Path(given).parent
    return "" if os.access(place, os.W_OK) else f"{given} cannot be written"


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "SSL_CERT_FILE": _no_authorities,
    "SSL_CERT_DIR": _no_folders,
    "SSLKEYLOGFILE": _not_to_be_written,
}
