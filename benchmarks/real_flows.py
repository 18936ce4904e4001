"""What flows give, raw and through the queue: ``python -m benchmarks.real_flows [--select NAME]... [--json]``.

Reads FLOWISE_BASE_URL and FLOWISE_API_KEY, takes that server's flows into a registry of its own, starts a broker and a
worker, asks each flow by a plain POST and by ``flywheel ask --json``, compares, and prints a Markdown table. A flow
that asks a person is told to proceed in both. The chats that it makes stay on the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvloop

from agentic_flywheel.catalog import Flow
from agentic_flywheel.registry import load_catalog
from benchmarks.lab.given import Given, given_by_queue, given_raw
from benchmarks.lab.parts import Lab, lab

QUESTION = "Where is Oslo?"
#: Flows under way at once, and seconds that one call may take.
AT_ONCE, PATIENCE = 8, 180.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A Flowise."""

    url: str
    key: str

    async def ask(self, flow_id: str, body: Json) -> tuple[int, str]:
        """Return the status and the body of a plain call."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            told = await client.post(f"{self.url}/api/v1/prediction/{flow_id}", json=body, headers=headers)
        return told.status_code, told.text


class Asking:
    """Asks each flow in both ways. ``env``: what a command of ours reads."""

    def __init__(self, server: Server, env: dict[str, str], folder: Path) -> None:
        self._server, self._env, self._folder = server, env, folder
        self._room = asyncio.Semaphore(AT_ONCE)

    async def row(self, flow: Flow) -> Json:
        """Return what a flow gave in both ways, and where the two differ."""
        form = {field.name: field.options[0] if field.options else "7" for field in flow.form}
        async with self._room:
            body = {"form": form} if form else {"question": QUESTION}
            raw, queued = await asyncio.gather(self._raw(flow.id, body), self._queued(flow.key, form))
        row = {"flow": flow.name, "gives": raw.told(), "differs": raw.differences(queued), "queue": queued.told()}
        if not flow.active and raw.error and queued.error:
            why = "refused at once: the import takes it in as inactive, since no question can start it"
            return {**row, "differs": [], "queue": f"{why} (`{queued.kind}`)"}
        return row if row["differs"] else {**row, "queue": f"the same, as `{queued.kind}`" if raw.error else "the same"}

    async def _raw(self, flow_id: str, body: Json) -> Given:
        given = given_raw(*await self._server.ask(flow_id, body))
        if given.stop is None:
            return given
        decision = {"type": "proceed", "startNodeId": given.node, "feedback": ""}
        body = {"question": "", "chatId": given.chat, "humanInput": decision}
        return given.then(given_raw(*await self._server.ask(flow_id, body)))

    async def _queued(self, flow: str, form: Json) -> Given:
        asked = [part for name, value in form.items() for part in ("--form", f"{name}={value}")] or [QUESTION]
        given = given_by_queue(await self.command("ask", *asked, "--flow", flow, "--no-cache"))
        if given.stop is None:
            return given
        await self.command("resume", given.query, "--proceed")
        return given.then(given_by_queue(await self.command("wait", given.query)))

    async def command(self, *line: str) -> Json:
        """Run a command of ours. Returns the last object that it prints."""
        started = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("flywheel")), *line, "--json"),
            cwd=self._folder,
            env={**os.environ, **self._env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await started.communicate()
        finally:
            if started.returncode is None:  # cut short
                started.kill()
        said = out.decode().splitlines()
        if not said:
            raise RuntimeError(f"flywheel {' '.join(line)}: {err.decode()[-2000:]}")
        found: Json = json.loads(said[-1])
        return found


async def measure(here: Lab, server: Server, select: Sequence[str]) -> list[Json]:
    """Take the flows in, start what asks them, and ask. Returns a row for each flow, by its name."""
    _, redis_url = here.broker()
    env = {
        **{"REDIS_URL": redis_url, "FLYWHEEL_HOME": str(here.folder / "home"), "FLYWHEEL_TRACING_ENABLED": "false"},
        **{"FLOWISE_BASE_URL": server.url, "FLOWISE_API_KEY": server.key},
    }
    asking = Asking(server, env, here.folder)
    told = await asking.command("flows", "import", "--yes", *(part for name in select for part in ("--select", name)))
    if not told.get("written"):
        raise SystemExit(told.get("error", "the server has no flow"))
    flows = _flows_of(Path(told["registry"]))
    here.worker("worker", {**env, "FLYWHEEL_REGISTRY": told["registry"]}, concurrency=50)
    return await asyncio.gather(*map(asking.row, flows))


def _flows_of(registry: Path) -> list[Flow]:
    """Return the registry's flows by their names, each with one attempt: a failure is compared as it came first.

    Flowise itself has by then repeated a provider's failure for up to two minutes.
    """
    once = re.sub(r"^( +)(id: .+)$", r"\1\2\n\1attempts: 1", registry.read_text(), flags=re.MULTILINE)
    registry.write_text(once)
    return sorted(load_catalog(registry).flows.values(), key=lambda flow: flow.name)


def markdown(rows: Sequence[Json]) -> str:
    """Return rows as a Markdown table, and a line that counts them."""
    lines = ["| Flow | A raw call gives | Through the queue |", "|---|---|---|"]
    for row in rows:
        queue = f"**differs in {', '.join(row['differs'])}**: {row['queue']}" if row["differs"] else row["queue"]
        lines.append(f"| `{row['flow']}` | {_cell(row['gives'])} | {_cell(queue)} |")
    differ = sum(bool(row["differs"]) for row in rows)
    return "\n".join([*lines, "", f"{len(rows)} flows, {differ} differ."])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Ask and print. Ends with 1 where a flow gives something else through the queue."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.real_flows", description=__doc__)
    asked.add_argument("--select", action="append", default=[], metavar="NAME", help="`*` stands for any text")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    url, key = (os.environ.get(name, "") for name in ("FLOWISE_BASE_URL", "FLOWISE_API_KEY"))
    if not (url and key):
        sys.exit("Set FLOWISE_BASE_URL and FLOWISE_API_KEY to a Flowise and a key that may view its flows.")
    with lab() as here:
        rows = uvloop.run(measure(here, Server(url.rstrip("/").removesuffix("/api/v1"), key), given.select))
    print(json.dumps(rows) if given.json else markdown(rows))
    sys.exit(any(row["differs"] for row in rows))


if __name__ == "__main__":
    main()
