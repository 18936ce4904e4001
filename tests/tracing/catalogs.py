"""A small catalog: two domains, three flows."""

from __future__ import annotations

from agentic_flywheel.catalog import Catalog, Flow

CATALOG = Catalog(
    flows={
        key: Flow(key=key, id=f"id-{key}", domain=domain)
        for key, domain in (("sql", "technical"), ("code", "technical"), ("poem", "creative"))
    }
)
