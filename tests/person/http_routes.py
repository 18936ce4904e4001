"""Every route of the gateway, and how it is called with values for the names that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI
from fastapi.routing import APIRoute

#: Routes that tell nothing of anybody, and are in no description.
OF_NOBODY = {"/", "/docs", "/openapi.json"}


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    #: Where each of its names stands: `path`, `query`, `header`, or `body`; and whether it is needed.
    where: Mapping[str, str]
    needed: Mapping[str, bool]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def request(self, http: httpx2.AsyncClient, given: Mapping[str, Any], headers: Mapping[str, str]) -> httpx2.Request:
        """Return the request with these values."""
        of: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "body": {}}
        for name, value in given.items():
            of[self.where[name]][name] = value
        path = re.sub(r"\{(\w+)\}", lambda found: str(of["path"].get(found[1], "none")), self.path)
        body = of["body"] if "body" in self.where.values() else None
        texts = {name: str(value) for name, value in of["header"].items()}
        return http.build_request(self.method, path, params=of["query"], headers={**headers, **texts}, json=body)


def operations(app: FastAPI) -> Iterator[Operation]:
    """Yield every operation of the application. A route that no description knows fails here."""
    described = app.openapi()
    schemas = described["components"]["schemas"]
    for route in routes_of(app):
        if route.path in OF_NOBODY:
            continue
        path = re.sub(r":\w+}", "}", route.path)  # without its converter
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = described["paths"][path][method.lower()]
            where = {each["name"]: each["in"] for each in operation.get("parameters", ())}
            needed = {each["name"]: each.get("required", False) for each in operation.get("parameters", ())}
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            for name in schema.get("properties", ()):
                where.setdefault(name, "body")
                needed.setdefault(name, name in schema.get("required", ()))
            yield Operation(method, path, where, needed)


def routes_of(app: FastAPI) -> Iterator[APIRoute]:
    """Yield the routes; one of another kind, such as a mounted application, fails here until it is known."""
    for route in app.router.routes:
        found = getattr(route, "original_router", None)
        each = list(found.routes) if found is not None else [route]
        for one in each:
            assert isinstance(one, APIRoute), f"say how {one} is walked"
            yield one
