"""The models of the OpenAI-compatible API: `auto`, the domains, and the flows that take questions."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import UnknownModel
from http_gateway.openai.requests import AUTO

OWNER = "agentic-flywheel"
#: What clients sort models by; a registry does not say when a flow was made.
_BEGAN = int(time.time())


class Aim(NamedTuple):
    """Where a question goes: to a flow, to a domain, or wherever it fits best."""

    flow: str | None = None
    domain: str | None = None


def aim_of(model: str, catalog: Catalog) -> Aim:
    """Return what a model means. A flow stands before a domain of the same name. Raises UnknownModel."""
    if model == AUTO:
        return Aim()
    if model in catalog.active:
        return Aim(flow=model)
    if model in catalog.domains:
        return Aim(domain=model)
    raise UnknownModel(model, [each["id"] for each in models_of(catalog)])


def models_of(catalog: Catalog) -> list[dict[str, Any]]:
    """Return the models as OpenAI lists them, with a name and a description for those that show one."""
    found = {AUTO: _model(AUTO, "Auto", "The flow that fits the question best")}
    for domain in catalog.domains:
        titles = [flow.title for flow in catalog.domains[domain] if flow.key in catalog.routable]
        if titles and domain not in catalog.active:
            found.setdefault(
                domain, _model(domain, domain, f"The flow of this domain that fits best: {', '.join(titles)}")
            )
    for key, flow in catalog.routable.items():
        found.setdefault(key, _model(key, flow.title, flow.description or f"The flow {flow.title}"))
    return list(found.values())


def _model(id: str, name: str, description: str) -> dict[str, Any]:
    return {
        "id": id,
        "object": "model",
        "created": _BEGAN,
        "owned_by": OWNER,
        "name": name,
        "description": description,
    }
