"""The JSON Schemas that clients are shown: few keywords, the same for every host, and as short as they can be.

Hosts translate schemas for their model's interface, and several refuse or drop what they do not know. So no schema of
ours has ``anyOf null``, references, defaults, patterns, lengths or bounds: all of that is checked when a call comes in.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

#: What OpenAI's strict mode and google-genai both take.
_KEYWORDS = frozenset({"type", "description", "properties", "required", "items", "enum", "anyOf"})


class _Plain(GenerateJsonSchema):
    """Writes an optional value as the value that it holds: what is absent is left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a tool's arguments. It does not say that it is closed: google-genai breaks on that."""
    return _schema(model, "validation")


@cache
def output_schema(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a result, which may have further fields; of one of several kinds, what they may have."""
    schemas = [_schema(model, "serialization") for model in models]
    first, *others = schemas
    for other in others:
        first["properties"] = {**other["properties"], **first["properties"]}
        first["required"] = [name for name in first.get("required", ()) if name in other.get("required", ())]
    return {name: value for name, value in first.items() if value != []}


def shown(value: Any, schema: dict[str, Any]) -> Any:
    """Return what a schema speaks of in a value; the rest is for programs."""
    if isinstance(value, list):
        items = schema.get("items")
        return [shown(each, items) for each in value] if items else value
    properties = schema.get("properties")
    if not isinstance(value, dict) or properties is None:
        return value
    return {name: shown(each, properties[name]) for name, each in value.items() if name in properties}


def _schema(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
    written = model.model_json_schema(schema_generator=_Plain, mode=mode)
    schema: dict[str, Any] = _pruned(written, written.get("$defs", {}))
    schema.pop("description", None)
    if mode == "serialization":
        # Null is never written, so only what has no default is sure to be there.
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        schema["required"] = [name for name in needed if name in schema["properties"]]
    return schema


def _pruned(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema without references and without what not every host knows."""
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        referred = definitions[node["$ref"].rpartition("/")[2]]
        # What is said of the field goes before what is said of its type.
        node = {**{name: value for name, value in referred.items() if name != "description"}, **node}
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    kept = {name: value for name, value in node.items() if name in _KEYWORDS}
    if "properties" in kept:
        kept["properties"] = {name: _pruned(each, definitions) for name, each in kept["properties"].items()}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _pruned(kept["items"], definitions)
    if "anyOf" in kept:
        kinds = [_pruned(each, definitions) for each in kept["anyOf"]]
        kept["anyOf"] = [each for number, each in enumerate(kinds) if each not in kinds[:number]]
    return kept
