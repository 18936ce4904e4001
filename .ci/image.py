"""Build the image as deploy/Dockerfile says, without a container engine, and have processes of it answer a question.

Needs root, and Debian's buildah. Where the base image cannot be had, Debian's own Python of the same version stands in
for it (debootstrap): every step of the Dockerfile runs all the same. Ends well, and says why, where that cannot be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "agentic-flywheel:checked"
#: The release of Debian whose Python is that of the base image.
DEBIAN = "trixie"
#: Of the gateway that is started here, and of no other.
TOKEN = "t" * 40
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
    for command in (["update"], ["install", "-y", "--no-install-recommends", *programs]):
        subprocess.run(["apt-get", "-qq", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


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


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


def posted(url: str, body: dict[str, str], token: str) -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return bytes(answer.read()).decode()


def check(builder: Builder, folder: Path) -> None:
    """Start sandbox, worker and gateway of the image, ask a question, and look at what they have written.

    The broker is one that the image's own packages bring.
    """
    began = builder.run("from", "--pull-never", IMAGE)

    def inside(*command: str, **environment: str) -> list[str]:
        told = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        return builder.command("run", "--isolation", "chroot", *told, began, "--", *command)

    def said(*command: str, **environment: str) -> str:
        done = subprocess.run(inside(*command, **environment), capture_output=True, text=True, timeout=90, check=True)
        return done.stdout

    broker, sandbox, gateway = map(str, free_ports(3))
    told = {
        "REDIS_URL": f"redis://127.0.0.1:{broker}/0",
        "FLOWISE_BASE_URL": f"http://127.0.0.1:{sandbox}",
        "FLYWHEEL_METRICS_PORT": "off",
        "FLYWHEEL_MCP_TOKENS": f"me={TOKEN}",
    }
    server = f"import os; from producer.stack.broker import server_binary as found; p = found(); \
os.execv(p, [p, '--port', '{broker}', '--dir', '/tmp'])"
    (command,) = re.findall(r"^CMD \[(.*)\]$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    (health,) = re.findall(r"^ +CMD (find .*)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    commands = {
        "broker": inside("python", "-c", server),
        "sandbox": inside("python", "-P", "-m", "flowise_sandbox", "--port", sandbox, FLYWHEEL_METRICS_PORT="off"),
        "worker": inside(*re.findall(r'"([^"]*)"', command), **told),
        "gateway": inside("python", "-P", "-m", "http_gateway", "--port", gateway, **told),
    }
    url = f"http://127.0.0.1:{gateway}"
    asked = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).status)"
    patient = "until {}; do sleep 0.5; done"
    try:
        with ExitStack() as stack:
            said("touch", "/tmp/began")
            for name, each in commands.items():
                stack.enter_context(started(each, folder / f"{name}.log"))
            said("timeout", "60", "sh", "-c", patient.format(f"{health} 2>/dev/null"))
            for path in ("healthz", "readyz"):
                said("timeout", "60", "sh", "-c", patient.format(f'python -c "{asked}" {url}/{path} 2>/dev/null'))
            answer = posted(f"{url}/v1/queries?wait=50", {"question": "Write a poem about the sea"}, TOKEN)
            assert '"flow":"creative-orientation"' in answer, answer
            answer = said("flywheel", "ask", "How do I use a Python database?", "--json", **told)
            assert '"flow": "technical-analysis"' in answer, answer
        # Compose and the chart make the root read-only: two folders alone are written to.
        beside = (
            "/proc",
            "/sys",
            "/dev",
            "/tmp",
            "/app/.flywheel",
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/run",
        )
        pruned = " -o ".join(f"-path {each}" for each in beside)
        written = said(
            "sh", "-c", f"find / \\( {pruned} \\) -prune -o -type f -newer /tmp/began -print 2>/dev/null; true"
        )
        assert not written, f"written into the image: {written}"
        assert said("id", "-u").strip() == "10001"
    except (AssertionError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        for name in commands:
            sys.stderr.write(f"--- {name}\n{(folder / f'{name}.log').read_text()[-3000:]}\n")
        raise
    finally:
        builder.run("rm", began)


def main(folder: Path) -> None:
    if os.geteuid() != 0 or not (shutil.which("buildah") or shutil.which("apt-get")):
        print("The image is not built here: that needs root, and buildah or Debian's packages.")
        return
    install("buildah")
    folder.mkdir(parents=True)
    builder, began = Builder(folder), time.monotonic()
    (base,) = set(re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    pulled = builder.can("pull", "--quiet", base)
    if not pulled:
        stand_in(builder, base, folder)
    options = ["--isolation", "chroot", "--network", "host", "--pull-never", "--quiet", "--format", "docker"]
    ignored: list[str | Path] = ["--ignorefile", ROOT / "deploy" / "Dockerfile.dockerignore"]
    builder.run("bud", *options, *ignored, "--file", ROOT / "deploy" / "Dockerfile", "--tag", IMAGE, ROOT)
    check(builder, folder)
    of = base if pulled else f"Debian {DEBIAN}'s Python, as {base} cannot be had here"
    print(f"The image builds from {of}; its worker and gateway answer. {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
