"""How this installation was made, and so the command that adds to it. Reads files of this environment alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

#: The distribution.
NAME = "agentic-flywheel"


def install_command(*extras: str) -> str:
    """Return the command of a shell that installs this package again where it runs, and these extras."""
    import tomllib  # with `metadata` below it takes a command's start some milliseconds, that needs neither

    prefix = Path(sys.prefix)
    if (receipt := prefix / "uv-receipt.toml").exists():
        # A tool of uv has what its last installation names, and no more.
        named = tomllib.loads(receipt.read_text())["tool"]["requirements"]
        known = {extra for each in named if each["name"] == NAME for extra in each.get("extras", ())}
        return f"uv tool install {_requirement({*known, *extras})}"
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx runpip {quote(prefix.name)} install {_requirement(extras)}"
    return f"{pip_command()} {_requirement(extras)}"


def pip_command() -> str:
    """Return the beginning of a command that installs requirements into the environment that runs this."""
    python = quote(sys.executable)
    return f"uv pip install --python {python}" if find_spec("pip") is None else f"{python} -m pip install"


def _requirement(extras: Collection[str]) -> str:
    """Return what to install, quoted for a shell: from where it came, which an index need not have."""
    from importlib import metadata

    listed = f"[{','.join(sorted(extras))}]" if extras else ""
    recorded = metadata.distribution(NAME).read_text("direct_url.json")
    if recorded is None:
        return quote(f"{NAME}{listed}")
    origin = json.loads(recorded)
    url, repository = origin["url"], origin.get("vcs_info")
    if repository:
        url = f"{repository['vcs']}+{url}@{repository['commit_id']}"
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {quote(unquote(urlsplit(url).path) + listed)}"
    return quote(f"{NAME}{listed} @ {url}")
