"""The flow registry: find it, read it, change it, watch it."""

from agentic_flywheel.registry.cascade import bundled_registry, find_registry
from agentic_flywheel.registry.editing import add_flow, import_flows, update_flow, update_flows
from agentic_flywheel.registry.reading import RegistryReading, Remark, check_registry, load_catalog, read_registry
from agentic_flywheel.registry.variables import NamedVariable
from agentic_flywheel.registry.watch import CatalogWatch

__all__ = [
    "CatalogWatch",
    "NamedVariable",
    "RegistryReading",
    "Remark",
    "add_flow",
    "bundled_registry",
    "check_registry",
    "find_registry",
    "import_flows",
    "load_catalog",
    "read_registry",
    "update_flow",
    "update_flows",
]
