"""The environment variables that a registry names: what they hold is secret, and stands nowhere in the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agentic_flywheel.catalog import Flow, Policy
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.policy import SECTION as POLICY
from agentic_flywheel.registry.sections import Entry
from agentic_flywheel.registry.servers import SECTION
from agentic_flywheel.servers import VARIABLE, FlowServer
from agentic_flywheel.settings import variable_fault

#: What nobody can say of them who is no worker.
ELSEWHERE = "whether each worker has them too cannot be known from here: it logs what it lacks"


@dataclass(frozen=True)
class NamedVariable:
    """One variable, and what names it."""

    line: int
    #: Where it stands, such as ``servers.models.api_key_env``.
    key: str
    name: str
    #: The active flows that need it.
    flows: tuple[str, ...]
    #: What does not happen without it.
    without: str

    @property
    def fault(self) -> str:
        """What is wrong with it in this process' environment, in a sentence; empty where it holds something."""
        wrong = variable_fault(self.name)
        whose = f" ({', '.join(self.flows)})" if self.flows else ""
        return f"{self.name} {wrong} here: {self.without}{whose}" if wrong else ""


#: A variable as it is found: where it stands, its name, the flows that need it, and what does not happen without it.
Found = tuple[Where, str, tuple[str, ...], str]


def variables_in(
    servers: Mapping[str, FlowServer | None], flows: Mapping[str, Flow], found: Mapping[str, Entry], policy: Policy
) -> Iterator[Found]:
    """Yield every variable that a registry names; ``found`` says where each flow stands in the file."""
    active = {key: flow for key, flow in flows.items() if flow.active}
    for name, server in servers.items():
        if server is None:
            continue
        served = {key: flow for key, flow in active.items() if found[key].fields.get("server") == name}
        if server.api_key_env is not None:
            others = tuple(key for key, flow in served.items() if flow.api_key_env is None)
            yield (SECTION, name, "api_key_env"), server.api_key_env, others, "its flows are asked without a key"
        for header, value in server.headers.items():
            where = (SECTION, name, "headers", header)
            for variable in VARIABLE.findall(value):
                yield where, variable, tuple(served), "its flows cannot be asked without this header"
    for key, flow in active.items():
        if flow.api_key_env is not None:
            without = "it is asked with its server's key, where there is one"
            yield (*found[key].where, "api_key_env"), flow.api_key_env, (key,), without
    if policy.encoder is not None and policy.encoder.api_key_env is not None:
        yield (POLICY, "encoder", "api_key_env"), policy.encoder.api_key_env, (), "its server is asked without a key"
