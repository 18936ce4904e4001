"""Build the image as deploy/Dockerfile says, without a container engine, and have processes of it answer a question.

Needs root, and Debian's buildah. Where the base image cannot be had, Debian's own Python of the same version stands in
for it (debootstrap): every step of the Dockerfile runs all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "agentic-flywheel:checked"
#: The release of Debian whose Python is that of the base image.
DEBIAN = "trixie"
#: Certificates of this machine, which may be behind a proxy of its own.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder:
    """Buildah with its store in a folder of ours, so that nothing is left on the machine."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def command(self, *arguments: str | Path) -> list[str]:
        return ["buildah", *self._options, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    def can(self, *arguments: str | Path) -> bool:
        return subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def install(*programs: str) -> None:
    if all(map(shutil.which, programs)):
        return
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *programs], **quiet)


def stand_in(builder: Builder, name: str, folder: Path) -> None:
    """Make an image with this name from Debian's packages."""
    install("debootstrap")
    root = folder / "debian"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, DEBIAN, root], stdout=subprocess.DEVNULL, check=True)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    if CERTIFICATES.exists():
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    begun = builder.run("from", "scratch")
    builder.run("add", "--quiet", begun, root, "/")
    builder.run("config", "--env", f"PIP_CERT={CERTIFICATES}", begun)
    builder.run("commit", "--quiet", "--rm", begun, f"docker.io/library/{name}")
    shutil.rmtree(root)


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends. Its group is told to stop, and killed where it does not."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            for signal in (15, 9):
                try:
                    os.killpg(process.pid, signal)
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    pass
                break


def answers(builder: Builder, folder: Path) -> str:
    """Start a sandbox and a worker of the image, and ask them a question. Returns the answer.

    The broker is one that the image's own packages bring.
    """
    began = builder.run("from", "--pull-never", IMAGE)

    def inside(*command: str, **environment: str) -> list[str]:
        told = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        return builder.command("run", "--isolation", "chroot", *told, began, "--", *command)

    address = {"REDIS_URL": "redis://127.0.0.1:26379/0", "FLOWISE_BASE_URL": "http://127.0.0.1:23000"}
    address["FLYWHEEL_METRICS_PORT"] = "off"
    valkey = "import os; from producer.stack.broker import server_binary as found; p = found(); os.execv(p, [p, *'--port 26379 --dir /tmp'.split()])"
    ready = "until find /tmp/worker.ready -newermt '-15 seconds' 2>/dev/null | grep -q .; do sleep 0.2; done"
    (command,) = re.findall(r"^CMD \[(.*)\]$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    logs = {name: folder / f"{name}.log" for name in ("broker", "sandbox", "worker")}
    sandbox = inside("python", "-P", "-m", "flowise_sandbox", "--port", "23000", FLYWHEEL_METRICS_PORT="off")
    try:
        with (
            started(inside("python", "-c", valkey), logs["broker"]),
            started(sandbox, logs["sandbox"]),
            started(inside(*re.findall(r'"([^"]*)"', command), **address), logs["worker"]),
        ):
            subprocess.run(inside("timeout", "60", "sh", "-c", ready), check=True)
            asked = inside("flywheel", "ask", "How do I use a Python database?", "--json", **address)
            return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        for name, log in logs.items():
            sys.stderr.write(f"--- {name}\n{log.read_text()[-3000:]}\n")
        raise
    finally:
        builder.run("rm", began)


def main(folder: Path) -> None:
    if os.geteuid() != 0:
        sys.exit("This needs root: the steps of an image run in a root folder of their own.")
    install("buildah")
    folder.mkdir(parents=True)
    builder, began = Builder(folder), time.monotonic()
    (base,) = set(re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    pulled = builder.can("pull", "--quiet", base)
    if not pulled:
        stand_in(builder, base, folder)
    options = ["--isolation", "chroot", "--network", "host", "--pull-never", "--quiet", "--format", "docker"]
    ignored = ["--ignorefile", ROOT / "deploy" / "Dockerfile.dockerignore"]
    builder.run("bud", *options, *ignored, "--file", ROOT / "deploy" / "Dockerfile", "--tag", IMAGE, ROOT)
    said = answers(builder, folder)
    if '"answer"' not in said and '"text"' not in said:
        sys.exit(f"No answer came: {said}")
    of = base if pulled else f"Debian {DEBIAN}'s Python, as {base} cannot be had here"
    print(f"The image builds from {of}; its worker answers. {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
