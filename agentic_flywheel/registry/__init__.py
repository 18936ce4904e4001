"""The flow registry: find it, read it, change it, watch it."""

from agentic_flywheel.registry.cascade import bundled_registry, find_registry
from agentic_flywheel.registry.reading import Reading, Remark, check_registry, load_catalog, read_registry

__all__ = [
    "Reading",
    "Remark",
    "bundled_registry",
    "check_registry",
    "find_registry",
    "load_catalog",
    "read_registry",
]
