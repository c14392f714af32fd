"""Reading OpenAPI documents as a client's author would."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

Document = Mapping[str, Any]


def operation(document: Document, method: str, path: str) -> Document:
    found: Document = document["paths"][path][method]
    return found


def accepts(document: Document, method: str, path: str, body: object) -> bool:
    """Whether the provider's schema takes this JSON body."""
    schema = operation(document, method, path)["requestBody"]["content"]["application/json"]["schema"]
    try:
        Draft202012Validator({**schema, "components": document["components"]}).validate(body)
    except ValidationError:
        return False
    return True


def answer_schema(document: Document, method: str, path: str) -> Document:
    schema = operation(document, method, path)["responses"]["200"]["content"]["application/json"]["schema"]
    return resolved(document, schema)


def resolved(document: Document, schema: Document) -> Document:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found: Document = document["components"]["schemas"][name]
        return found
    return schema


def types_of(schema: Document) -> set[str]:
    """The JSON types a value may have."""
    return {part["type"] for part in schema.get("anyOf", [schema])}


def missing(expected: Document, provided: Document) -> list[str]:
    """What a client that reads `expected` would miss: fields not promised, or promised as another type."""
    faults = [f"{name}: not promised" for name in expected["required"] if name not in provided["required"]]
    for name in set(expected["required"]) & set(provided["required"]):
        others = types_of(provided["properties"][name]) - types_of(expected["properties"][name])
        if others:
            faults.append(f"{name}: may be {others}")
    return faults
