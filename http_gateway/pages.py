"""The page that lists every path: plain HTML made from the OpenAPI description, without scripts or network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

#: The page loads nothing and runs nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1a1a1a;
  background: #fff }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; text-transform: capitalize }
summary { cursor: pointer; padding: .3rem 0 } code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f4f4f4; overflow: auto; padding: .75rem } .method { display: inline-block; font-weight: 700;
  min-width: 4.5rem }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left;
  vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8 } pre { background: #242424 } }
"""


def page_of(api: dict[str, Any]) -> str:
    """Return the page for an OpenAPI description."""
    about = api["info"]
    body = "".join(_tag(api, tag) for tag in _tags(api))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(about["title"])}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{escape(about['title'])} {escape(about['version'])}</h1>"
        f"<p>{escape(about['description'])} As a file: <a href=openapi.json>openapi.json</a>. "
        f"A token is sent as <code>Authorization: Bearer …</code>.</p>{body}</html>"
    )


def _operations(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _tags(api: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(tag for _, _, each in _operations(api) for tag in each.get("tags", ["other"])))


def _tag(api: dict[str, Any], tag: str) -> str:
    shown = [
        _operation(method, path, each) for method, path, each in _operations(api) if tag in each.get("tags", ["other"])
    ]
    return f"<h2>{escape(tag)}</h2>{''.join(shown)}"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each['in'])}"
            f"<td>{'yes' if each.get('required') else ''}<td>{escape(each.get('description', ''))}"
            for each in parameters
        )
        parts.append(f"<table><tr><th>Name<th>In<th>Required<th>Meaning{rows}</table>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, {escape(media)}:</p><pre>{_schema(content.get('schema', {}))}</pre>")
    for status, response in operation["responses"].items():
        for media, content in response.get("content", {}).items():
            parts.append(f"<p>{escape(status)}, {escape(media)}:</p><pre>{_schema(content.get('schema', {}))}</pre>")
    title = escape(operation.get("summary", ""))
    head = f"<span class=method>{method}</span> <code>{escape(path)}</code> {title}"
    return f"<details><summary>{head}</summary>{''.join(parts)}</details>"


def _schema(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return escape(f"the schema {schema['$ref'].rpartition('/')[2]} of openapi.json")
    return escape(json.dumps(schema, indent=1, ensure_ascii=False))
