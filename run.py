#!/usr/bin/env python3
"""Run the project from a bare checkout: ``python3 run.py demo``, ``python3 run.py test``, or any ``flywheel`` command.

Needs Python 3.11, or uv, and nothing else: the first run installs everything into .venv, later runs start at once.
Readable by Python 3.6 on purpose (no newer syntax, annotations quoted), so that an old one can say what is missing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator  # noqa: UP035 - old Pythons have it only here

try:
    import fcntl
except ImportError:
    sys.exit("Agentic Flywheel runs on Linux and macOS. On Windows, run it inside WSL (wsl --install).")

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("FLYWHEEL_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
#: Written last, so that an install that was interrupted is not taken for a whole one.
STAMP = VENV / ".flywheel-installed"

PACKAGES = ("-c", "constraints.txt", "-e", ".[all,test]")

#: What `test` without arguments does, the quick checks first.
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("pyrefly", "check", "--summary=none", "--python-interpreter-path", str(PYTHON)),
    # Declared dependencies are the imported ones.
    ("deptry", ".", "tests", "--no-ansi"),
    # Most tests wait for processes of their own: four at a time keep two cores busy. In the order of tests/conftest.py.
    ("pytest", "-n", "4", "--no-loadscope-reorder", "--cov", "--cov-report=term"),
)
#: Compiles the tests once, beside the checks of types, which take one core: else four processes do it at the same time.
AHEAD = ("pytest", "--collect-only", "-qq", "-p", "no:cacheprovider")
#: Of at most so many failed tests it is looked whether they pass alone: with four at a time on two cores, a wait that
#: is long enough otherwise may be too short. More are no accident.
FEW = 10


def digest() -> str:
    """Return what an installation depends on: the declared and pinned packages, and where the checkout lies."""
    content = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        content.update((ROOT / name).read_bytes())
    return content.hexdigest()


def installed() -> bool:
    return usable() and STAMP.read_text() == digest()


def usable() -> bool:
    """Whether a former installation was completed, so that it can be brought up to date in place."""
    return STAMP.exists() and PYTHON.exists()


def new_enough_python() -> "str | None":
    if sys.version_info >= (3, 11):  # noqa: UP036 - this file is started with whatever python3 there is
        return sys.executable
    names = [f"python3.{minor}" for minor in range(14, 10, -1)]
    return next(filter(None, map(shutil.which, names)), None)


def carry_out(*command: object) -> None:
    """Run one step of the installation, its output on stderr: stdout belongs to the command that the user gave."""
    if subprocess.call([str(part) for part in command], cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=sys.stderr):
        sys.exit(f"{command[0]} failed; the lines above say why. The same command again starts afresh.")


def install_with_uv(uv: str) -> None:
    if not usable():
        carry_out(uv, "venv", "--quiet", "--clear", "--python", new_enough_python() or ">=3.11", VENV)
    with unstamped():
        carry_out(uv, "pip", "install", "--quiet", "--python", PYTHON, *PACKAGES)


def install_with_pip() -> None:
    python = new_enough_python()
    if python is None:
        sys.exit(
            f"Python 3.11 or newer is needed; this is {sys.version_info[0]}.{sys.version_info[1]}. "
            "Install one (Debian, Ubuntu: sudo apt install python3.11 python3.11-venv; macOS: brew install python), "
            "or install uv, which brings its own."
        )
    if subprocess.call([python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL):
        sys.exit(
            "This Python cannot make virtual environments: it has no ensurepip. "
            "On Debian and Ubuntu run  sudo apt install python3-venv  and then the same command again."
        )
    if not (usable() and (VENV / "bin" / "pip").exists()):  # uv makes environments without pip
        carry_out(python, "-m", "venv", "--clear", VENV)
    with unstamped():
        carry_out(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *PACKAGES)


@contextmanager
def unstamped() -> "Iterator[None]":
    """Put the stamp back only when all went well: an installation that was cut short is then done from scratch."""
    if STAMP.exists():
        STAMP.unlink()
    yield
    STAMP.write_text(digest())


@contextmanager
def one_at_a_time() -> "Iterator[None]":
    """Hold a lock on this very file: it is there before anything else is, and the system frees it when we die."""
    with open(__file__, "rb") as this_file:
        fcntl.flock(this_file, fcntl.LOCK_EX)
        yield


def install() -> None:
    with one_at_a_time():
        if installed():  # somebody else did it while we waited
            return
        print(f"Installing Agentic Flywheel into {VENV} (once, about a minute) ...", file=sys.stderr)
        uv = shutil.which("uv")
        if uv:
            install_with_uv(uv)
        else:
            install_with_pip()


def test() -> int:
    """Lint, type-check and test with coverage; return the first status that is not 0."""
    command = [str(PYTHON), "-m", *AHEAD]
    # What is wrong there, pytest says once more.
    ahead = subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for check in CHECKS:
            if check[0] == "pytest":
                ahead.wait()
            print("+ " + " ".join(check), file=sys.stderr, flush=True)
            status = call(*check)
            if status == 1 and check[0] == "pytest":
                status = alone()
            if status:
                return status
        return 0
    finally:
        ahead.kill()
        ahead.wait()


def call(*check: str) -> int:
    return subprocess.call([str(PYTHON), "-m", *check], cwd=str(ROOT))


def alone() -> int:
    """Run the tests that have just failed once more, one at a time; return the first status that is not 0."""
    noted = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = sorted(json.loads(noted.read_text())) if noted.exists() else []
    if not 0 < len(failed) <= FEW:
        return 1
    print("+ pytest --last-failed", file=sys.stderr, flush=True)
    # The bound of coverage, which the failures have hidden, is that of the whole run.
    status = call("pytest", "--last-failed", "--last-failed-no-failures=none") or call("coverage", "report")
    if not status:
        names = "\n  ".join(failed)
        print(f"Passed alone, failed beside others (why is above):\n  {names}", file=sys.stderr, flush=True)
    return status


def keep_bytecode() -> None:
    """Where Python must not write bytecode beside its sources, as in many containers, have it do so in the environment.

    Otherwise every process would compile everything anew, and take three times as long to start.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(VENV / "bytecode")


def main(arguments: "list[str]") -> int:
    if not installed():
        install()
    keep_bytecode()
    if arguments == ["test"]:
        return test()
    if arguments[:1] == ["test"]:
        os.chdir(str(ROOT))
        command = [str(PYTHON), "-m", "pytest", *arguments[1:]]
    else:
        command = [str(VENV / "bin" / "flywheel"), *arguments]
    sys.stdout.flush()
    # In our place, not as a child: signals, the terminal and the exit status are then the command's own.
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
