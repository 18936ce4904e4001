"""Build the wheel, install it into an empty environment, and check that nothing of the four packages is missing."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agentic_flywheel", "workers", "producer", "mcp_bridge")

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
    run(python, "-c", IMPORT_EVERYTHING, *PACKAGES, cwd=elsewhere)
    run(folder / "bin" / "flywheel", "--help", cwd=elsewhere)
    print(f"{wheel.name} is whole: {len(list(sources()))} files, every module imports")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
