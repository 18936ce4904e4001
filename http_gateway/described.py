"""The OpenAPI description: what FastAPI knows of the routes, with our errors, and where a response leads to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from agentic_flywheel.errors import ErrorInfo
from agentic_flywheel.models import Model
from http_gateway.json_body import BodyOf
from http_gateway.native.bodies import HttpAsk
from http_gateway.problems import PROBLEM
from http_gateway.surfaces import Surface, surface_at

_SCHEMAS = "#/components/schemas/{model}"
#: What a response's id leads to: the path that gives it, the name of the id, and the paths that take it.
_LEADS = {
    "/v1/queries": ("query_id", "/v1/queries/{query_id}"),
    "/v1/batches": ("batch_id", "/v1/batches/{batch_id}"),
}


class HttpProblem(Model):
    """An error (RFC 9457). ``error`` is the same object as everywhere: what happened, why, what to do, when again."""

    type: str
    title: str
    status: int
    detail: str
    error: ErrorInfo


def described(app: FastAPI, surfaces: tuple[Surface, ...]) -> dict[str, Any]:
    """Return the description of an application, made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = found["components"]["schemas"]
        models: tuple[type[BaseModel], ...] = (HttpProblem, HttpAsk, *BodyOf.models)
        for model in models:
            schema = model.model_json_schema(ref_template=_SCHEMAS)
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        for path, methods in found["paths"].items():
            native = surface_at(path, surfaces) is surfaces[-1]
            for operation in methods.values():
                # What the framework would say of a request that does not fit; the surface says it in its own shape.
                operation["responses"].pop("422", None)
                if native:
                    content = {PROBLEM: {"schema": {"$ref": _SCHEMAS.format(model=HttpProblem.__name__)}}}
                    operation["responses"]["default"] = {"description": "An error", "content": content}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _lead_on(found["paths"])
        app.openapi_schema = found
    return app.openapi_schema


def _lead_on(paths: dict[str, Any]) -> None:
    """Say of responses with an id which operations take it."""
    for path, (name, prefix) in _LEADS.items():
        links = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {name: f"$response.body#/{name}"},
            }
            for other, methods in paths.items()
            if other == prefix or other.startswith(f"{prefix}/")
            for operation in methods.values()
        }
        for status in ("200", "202"):
            if status in paths[path]["post"]["responses"]:
                paths[path]["post"]["responses"][status]["links"] = links
