"""A whole house for pipeline tests: its own broker, a sandbox Flowise, workers, and a registry of telling flows."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis
from processes import Process, Valkey, end_waits, wait_for

from agentic_flywheel.settings import Settings

REGISTRY = """
currency: USD
prices: {sandbox: {input: 2.50, output: 10}}
intent_classification:
  fallback_flow: creative-orientation
operational_flows:
  technical-analysis:
    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
    domain: technical
    intent_keywords: [python, database, docker]
    examples: [How do I connect PostgreSQL to Python?, Which index does this join need?, Why is the docker build slow?]
  creative-orientation:
    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
    domain: creative
    intent_keywords: [poem, story, painting]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?]
  document-qa:
    id: 2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11
    domain: documents
    memory: history
    intent_keywords: [contract, clause, pdf]
    examples: [What does the contract say about notice?, Which clause covers liability?, Summarise this PDF]
  fragile:
    id: 00000000-0000-4000-8000-000000000001
    domain: fragile
    attempts: 2
    fallback: backup
  backup:
    id: 00000000-0000-4000-8000-000000000002
    domain: backup
  narrow:
    id: 00000000-0000-4000-8000-000000000003
    domain: narrow
    concurrency: 2
    cache: false
  prose:
    id: 00000000-0000-4000-8000-000000000007
    domain: prose
    cache: shared
    match: loose
  forgetful:
    id: 00000000-0000-4000-8000-000000000009
    domain: forgetful
    memory: history
    history_turns: 2
  brief:
    id: 00000000-0000-4000-8000-000000000004
    domain: brief
    ttl: 300ms
    stale_while_revalidate: 30s
  sparing:
    id: 00000000-0000-4000-8000-000000000005
    domain: sparing
    rate: 5
    cache: false
  stubborn:
    id: 00000000-0000-4000-8000-000000000006
    domain: stubborn
    attempts: 2
    timeout: 400ms
    failure_ttl: 30s
  approval:
    id: 00000000-0000-4000-8000-000000000020
    domain: approval
    attempts: 2
    fallback: backup
    stale_while_revalidate: 30s
  approval-plain:
    id: 00000000-0000-4000-8000-000000000021
    domain: approval
    streaming: false
  expenses:
    id: 00000000-0000-4000-8000-00000000000a
    domain: expenses
    form:
      - {name: employee}
      - {name: amount, type: number}
      - {name: kind, type: options, options: [travel, meal]}
      - {name: urgent, type: boolean, required: false}
  seeing:
    id: 00000000-0000-4000-8000-00000000000c
    domain: seeing
    stale_while_revalidate: 30s
  reading:
    id: 00000000-0000-4000-8000-00000000000d
    domain: reading
    failure_ttl: 0
  undeclared:
    id: 00000000-0000-4000-8000-00000000000b
    domain: undeclared
    failure_ttl: 0
  shaky:
    id: 00000000-0000-4000-8000-000000000010
    domain: shaky
    fallback: narrow
  wary:
    id: 00000000-0000-4000-8000-000000000010
    domain: wary
    cache: off
    fallback: prose
  public:
    id: 00000000-0000-4000-8000-000000000010
    domain: public
    cache: shared
    fallback: backup
  unhurried:
    id: 00000000-0000-4000-8000-000000000008
    domain: unhurried
    attempts: 20
    timeout: 400ms
"""

_SERVERS = """
servers:
  spoken: {{address: {url}/v1, backend: openai{of_spoken}}}
  plain: {{address: {url}, backend: http}}
"""
_SPOKEN = """    server: spoken
    model: {id}
"""
_TEMPLATED = """    server: plain
    request:
      path: /api/v1/prediction/{id}
      body:
        question: "{{{{question}}}}"
        history: "{{{{history}}}}"
        overrideConfig: {{sessionId: "{{{{session_id}}}}"}}
    answer: {{text: /text}}
"""


USER, PASSWORD = "few", "a-few-rights"
#: What docs/redis.md prints for a user of a server that others use too, with the number of the database.
RULES = (
    "~flywheel:* ~classify* ~synthesis* ~domain.* ~celery* ~_kombu.* ~unacked* ~*.pidbox* "
    "&flywheel:* &celery-task-meta-* &/0.celery.pidbox &/0.celeryev/* "
    "+@all -@dangerous +info"
)


class House:
    """Start it, ask it, set how its flows behave, look into its broker."""

    def __init__(
        self,
        folder: Path,
        *,
        registry: str = REGISTRY,
        aof: bool = False,
        workers: dict[str, str] | None = None,
        broker_options: Sequence[str] = (),
        spoken: Sequence[str] = (),
        templated: Sequence[str] = (),
        of_spoken: str = "",
        few_rights: bool = False,
    ) -> None:
        """``spoken``: flows that are asked by chat completions, and ``templated``: by a template, of the same sandbox.

        ``of_spoken``: what the registry says of their server beside its address. ``few_rights``: its
        processes come to the broker as a user with no more RULES than the docs give.
        """
        self.folder = folder
        #: What every worker finds in its environment, also one that a test starts in the place of another.
        self._for_workers = workers or {}
        self.registry = folder / "flow-registry.yaml"
        #: What the sandbox reads: all of its flows, as Flowise has them.
        self.served = folder / "served.yaml"
        self.served.write_text(registry)
        #: Where domain profiles would be.
        self.profiles = folder / "domains"
        user = ("--user", USER, "on", f">{PASSWORD}", *RULES.split()) if few_rights else ()
        self.broker = Valkey(folder / "broker", aof=aof, options=(*user, *broker_options)).start()
        #: Where processes of this house find their broker.
        self.broker_address = self.broker.url
        if few_rights:
            self.broker_address = self.broker.url.replace("//", f"//{USER}:{PASSWORD}@")
        self._serves = 0
        self.flowise_url = self.serve()
        for flow in spoken:
            registry = _asked_otherwise(registry, flow, _SPOKEN)
        for flow in templated:
            registry = _asked_otherwise(registry, flow, _TEMPLATED)
        if spoken or templated:
            registry = f"{_SERVERS.format(url=self.flowise_url, of_spoken=of_spoken)}{registry}"
        self.registry.write_text(registry)
        self.workers: list[Process] = []
        self.client: redis.Redis = self.broker.client()

    def serve(self, port: str = "0") -> str:
        """Start the sandbox; return its address when it answers."""
        command = [sys.executable, "-m", "flowise_sandbox", "--port", port, "--registry", str(self.served)]
        self._serves += 1
        self.sandbox = Process(command, log=self.folder / f"sandbox-{self._serves}.log")
        said = wait_for(lambda: re.search(r"http://\S+", self.sandbox.log), within=30, what="sandbox address")
        return said[0].rstrip("/")

    def serve_again(self) -> None:
        """Start the sandbox again where it was."""
        self.serve(self.flowise_url.rsplit(":", 1)[1])

    @property
    def settings(self) -> Settings:
        return Settings(
            redis_url=self.broker_address,
            flowise_base_url=self.flowise_url,
            registry=self.registry,
            profiles=self.profiles,
            home=self.folder / "home",
        )

    def worker(
        self,
        *,
        redis_url: str | None = None,
        wait: bool = True,
        events: bool = False,
        module: Sequence[str] = ("workers",),
        options: Sequence[str] = (),
        **env: str,
    ) -> Process:
        """Start one more worker; return it when it takes queries. ``module``: what runs it, with its own arguments."""
        name = f"w{len(self.workers)}"
        ready = self.folder / f"{name}.ready"
        values = {
            "REDIS_URL": redis_url or self.broker_address,
            "FLOWISE_BASE_URL": self.flowise_url,
            "FLYWHEEL_REGISTRY": str(self.registry),
            "FLYWHEEL_PROFILES": str(self.profiles),
            "FLYWHEEL_HOME": str(self.folder / "home"),
            **self._for_workers,
            **env,
        }
        command = [sys.executable, "-m", *module, "--name", name, "--ready-file", str(ready), *options]
        command += ["--events"] if events else []
        worker = Process(command, log=self.folder / f"{name}.log", env=values)
        self.workers.append(worker)
        if wait:
            self.ready(worker)
        return worker

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Meanwhile no worker takes anything. Shorter than a lease."""
        workers = [worker for worker in self.workers if worker.alive]
        for worker in workers:
            worker.send(signal.SIGSTOP)
        end_waits(self.client)
        try:
            yield
        finally:
            for worker in workers:
                worker.send(signal.SIGCONT)

    def ready(self, worker: Process) -> None:
        told = self.folder / f"w{self.workers.index(worker)}.ready"
        wait_for(lambda: told.exists() or not worker.alive, within=60, what="worker ready")
        assert worker.alive, worker.log[-3000:]

    def behave(self, flow_id: str = "", **behaviour: Any) -> None:
        """Set how one flow behaves, or all of them; without values: as at the start."""
        path = f"/sandbox/flows/{flow_id}/behaviour" if flow_id else "/sandbox/behaviour"
        self._call("PUT", path, behaviour)

    def build(self, flow_id: str, **flow: Any) -> None:
        """Make the sandbox's flow another one, until the next reset."""
        self._call("PUT", f"/sandbox/flows/{flow_id}", flow)

    def change_registry(self, text: str) -> None:
        """Put another registry in the place of this one. Whoever looks meanwhile finds one of them whole."""
        whole = self.registry.with_suffix(".new")
        whole.write_text(text)
        whole.replace(self.registry)

    def reset(self) -> None:
        self._call("POST", "/sandbox/reset", {})

    def calls(self, question: str) -> int:
        """How many predictions the sandbox was asked for with this question."""
        return int(self._counted()["questions"].get(question, 0))

    def sent(self, question: str) -> list[dict[str, Any]]:
        """The latest requests with this question, the oldest first."""
        return [each for each in self._counted()["recent"] if each.get("question") == question]

    def run_in(self, flow_id: str, chat_id: str | None) -> dict[str, Any]:
        """The last run of an AgentFlow in a chat, as Flowise tells it."""
        with urllib.request.urlopen(f"{self.flowise_url}/api/v1/chatmessage/{flow_id}?chatId={chat_id}") as told:
            run: dict[str, Any] = json.load(told)[-1]["execution"]
        return run

    def delete_session(self, flow_id: str, session: str | None) -> None:
        """Delete a session in the sandbox, with its runs, as somebody would in Flowise."""
        self._call("DELETE", f"/api/v1/chatmessage/{flow_id}?sessionId={session}", {})

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The latest requests, whatever they asked, the oldest first."""
        recent: list[dict[str, Any]] = self._counted()["recent"]
        return recent[-count:]

    def stop(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.terminate(within=30)
            worker.kill()
        self.sandbox.kill()
        self.client.close()
        self.broker.stop()

    def aborted(self, question: str) -> bool:
        """Whether every call with this question was to be aborted."""
        return {each["chatId"] for each in self.sent(question)} <= set(self._counted()["aborted"])

    def traced(self, query_id: str, name: str) -> dict[str, Any]:
        """The first observation of this name in a query's trace, as soon as it is in the file."""
        file = self.folder / "home" / "traces" / "observations.jsonl"

        def found() -> dict[str, Any] | None:
            observations = map(json.loads, file.read_text().splitlines())
            return next((each for each in observations if (each["query_id"], each["name"]) == (query_id, name)), None)

        observation: dict[str, Any] = wait_for(found, what=f"{name} of {query_id}")
        return observation

    def _counted(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.flowise_url}/sandbox/calls", timeout=30) as response:
            counted: dict[str, Any] = json.load(response)
        return counted

    def _call(self, method: str, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            self.flowise_url + path,
            method=method,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()


#: The sandbox's flows of the registry above.
FAILING = "00000000-0000-4000-8000-000000000010"
TECHNICAL = "896f7eed-342e-4596-9429-6fb9b5fbd91b"
DOCUMENTS = "2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11"
FRAGILE, BACKUP, NARROW, BRIEF, SPARING, STUBBORN, PROSE, UNHURRIED = (
    f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 9)
)
APPROVAL, APPROVAL_PLAIN = (f"00000000-0000-4000-8000-0000000000{n}" for n in (20, 21))


def _asked_otherwise(registry: str, flow: str, how: str) -> str:
    """Return a registry in which a flow is asked over another protocol."""
    said = re.search(rf"^  {flow}:\n    id: (\S+)\n", registry, re.MULTILINE)
    assert said, flow
    return registry.replace(said[0], f"  {flow}:\n{how.format(id=said[1])}", 1)


AnyHouse = TypeVar("AnyHouse", bound=House)


@contextmanager
def at_work(house: AnyHouse) -> Iterator[AnyHouse]:
    """Yield a house with a worker; nothing of it is left when the block ends."""
    try:
        house.worker()
        yield house
    finally:
        house.stop()
