"""Read a registry: the catalog that it gives, everything that is wrong with it, and what is worth a remark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agentic_flywheel.catalog import Catalog, Flow, revision_of
from agentic_flywheel.cutting import cut_words
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import checks
from agentic_flywheel.registry.document import Document, dotted, read_document
from agentic_flywheel.registry.entry import Fault, flow_of
from agentic_flywheel.registry.policy import SECTION, policy_of
from agentic_flywheel.registry.prices import prices_of
from agentic_flywheel.registry.sections import Entry, Misplaced, entries_of
from agentic_flywheel.registry.servers import servers_of
from agentic_flywheel.registry.slips import misnamed_section, remarks_on_keys
from agentic_flywheel.registry.variables import NamedVariable, variables_in


@dataclass(frozen=True)
class Remark:
    """Something that works but was hardly meant."""

    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.key}: {self.text}"


@dataclass(frozen=True)
class RegistryReading:
    """What a registry file gives: a catalog, or the faults for which there is none, by line."""

    catalog: Catalog | None
    faults: tuple[InvalidRegistry, ...] = ()
    warnings: tuple[Remark, ...] = ()
    #: The environment variables that it names, by line.
    variables: tuple[NamedVariable, ...] = ()

    def catalog_or_raise(self) -> Catalog:
        """Return the catalog. Raises the first fault."""
        if self.catalog is None:
            raise self.faults[0]
        return self.catalog


def load_catalog(path: Path) -> Catalog:
    """Return the catalog of a registry. Raises InvalidRegistry with the first fault."""
    return read_registry(path).catalog_or_raise()


def check_registry(path: Path) -> list[InvalidRegistry]:
    """Return every fault of a registry, by line."""
    return list(read_registry(path).faults)


def read_registry(path: Path) -> RegistryReading:
    """Read a registry file."""
    return reading_of(read_document(path))


def reading_of(document: Document) -> RegistryReading:
    """Read a registry that is in memory."""
    if document.root is None:
        return RegistryReading(None, document.faults)
    faults: list[Fault] = []
    remarks: list[Fault] = []
    flows: dict[str, Flow] = {}
    found: dict[str, Entry] = {}
    servers, wrong = servers_of(document.data, document.path.parent)
    faults += wrong
    broken = False
    entries: list[Entry] = []
    for entry in entries_of(document.data):
        if isinstance(entry, Misplaced):
            faults.append((entry.where, entry.reason))
            continue
        entries.append(entry)
        flow, wrong = flow_of(entry, servers)
        faults += wrong
        if flow is None:
            broken = True
            continue
        clash = _clash(flow, flows)
        if clash == "both active":
            faults.append((entry.where, f"is given twice, first in line {document.line_of(found[flow.key].where)}"))
        elif clash:
            remarks.append((entry.where, f"is here and in line {document.line_of(found[flow.key].where)}: {clash}"))
        # An active flow takes the place of an archived one of the same key.
        if not clash or (flow.active and clash != "both active"):
            flows[flow.key], found[flow.key] = flow, entry
    policy, wrong = policy_of(document.data)
    faults += wrong
    prices, wrong = prices_of(document.data)
    faults += wrong
    meant = checks.resolved_fallback(policy, flows)
    if meant != policy:
        remarks.append(((SECTION, "fallback_flow"), f"names no active flow; {meant.fallback_flow!r} is taken for it"))
    # With flows missing for their own faults, every reference to them would be a fault too.
    if not flows and (misnamed := misnamed_section(document.data)) is not None:
        faults.append(misnamed)
    elif not broken:
        faults += checks.between_flows(flows, meant, found)
    remarks += checks.remarks_on_flows(flows, found)
    remarks += checks.remarks_on_requests(flows, prices, found)
    remarks += checks.remarks_on_values(document.odd, found)
    remarks += remarks_on_keys(document.data, entries)
    every = [*document.faults, *(document.fault(where, reason) for where, reason in faults)]
    told = [each for each in remarks if each not in faults]
    remarked = (Remark(document.line_of(where), cut_words(dotted(where)), cut_words(text)) for where, text in told)
    warnings = sorted(remarked, key=lambda each: each.line)
    if every:
        return RegistryReading(None, tuple(sorted(every, key=lambda each: each.line)), tuple(warnings))
    named = {name: server for name, server in servers.items() if server is not None}
    catalog = Catalog(
        flows=flows,
        servers=named,
        policy=meant,
        prices=prices,
        source=str(document.path),
        revision=revision_of(flows, meant, named),
    )
    variables = [
        NamedVariable(document.line_of(where), dotted(where), name, its, without)
        for where, name, its, without in variables_in(servers, flows, found, meant)
    ]
    return RegistryReading(catalog, (), tuple(warnings), tuple(sorted(variables, key=lambda each: each.line)))


def _clash(flow: Flow, flows: dict[str, Flow]) -> str:
    """Return what it means that a flow of this key was there before; empty where none was."""
    before = flows.get(flow.key)
    if before is None:
        return ""
    if before.active and flow.active:
        return "both active"
    return "the active one counts" if before.active or flow.active else "the first one counts"
