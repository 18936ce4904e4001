"""Build the wheel, install it into an empty environment, and check that nothing of the packages is missing."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agentic_flywheel", "workers", "producer", "mcp_bridge", "http_gateway", "flowise_sandbox")

#: What a client is without any extra, and what it says of a command that needs one. Runs inside the environment, too.
CLIENT_ALONE = """
import subprocess, sys
from importlib.util import find_spec
from agentic_flywheel.models import Query
from producer import AsyncProducer, Producer
from producer.cli.root import COMMANDS

def said(*arguments):
    return subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)

assert not any(map(find_spec, ("celery", "mcp", "langfuse", "jsonschema"))), "a client alone needs none of them"
for refused in (said("worker"), said("mcp"), said("serve"), said("up"), said("demo")):
    assert refused.returncode == 2, refused
    assert "-m pip install 'agentic-flywheel[" in refused.stderr and "Traceback" not in refused.stderr, refused
doctor = said("doctor")
assert doctor.returncode in (0, 1) and "extra" in doctor.stdout and "Traceback" not in doctor.stderr, doctor
for command in COMMANDS.keys() - {"worker", "mcp", "serve"}:
    assert said(command, "--help").returncode == 0, command
"""

#: Runs inside the empty environment, from another folder, so that only the wheel can answer.
IMPORT_EVERYTHING = """
import importlib, pathlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    assert "site-packages" in pathlib.Path(package.__file__).parts, package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        # Programs would start; pytest's plugin is imported by pytest only, which is not installed here.
        if not module.name.endswith(("__main__", ".cassettes.plugin")):
            importlib.import_module(module.name)
"""


def sources() -> Iterator[str]:
    """Yield every file of the packages, as the wheel must name it."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix()


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, stdin=subprocess.DEVNULL, check=True)


def main(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    python, elsewhere = folder / "bin" / "python", folder / "elsewhere"
    elsewhere.mkdir()
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")

    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    if missing := set(sources()) - set(zipfile.ZipFile(wheel).namelist()):
        sys.exit(f"The wheel lacks {', '.join(sorted(missing))}")

    run(*pip, "install", "-c", ROOT / "constraints.txt", wheel)
    run(python, "-c", CLIENT_ALONE, folder / "bin" / "flywheel", cwd=elsewhere)
    run(*pip, "install", "-c", ROOT / "constraints.txt", f"{wheel}[all]")
    run(python, "-c", IMPORT_EVERYTHING, *PACKAGES, cwd=elsewhere)
    run(folder / "bin" / "flywheel", "--help", cwd=elsewhere)
    print(f"{wheel.name} is whole: {len(list(sources()))} files, every module imports")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
