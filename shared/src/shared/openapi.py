"""The public OpenAPI document: the services' own documents merged into one."""

from collections.abc import Mapping
from typing import Any

__all__ = ["merge_documents"]

_PRIVATE = "/internal/"


def merge_documents(documents: Mapping[str, Mapping[str, Any]], *, title: str, version: str, description: str) -> dict[str, Any]:
    """`documents` by service name. Two different schemas (parameters, responses) of one name are an error (ValueError)."""
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": {},
        "components": {
            "schemas": {},
            "parameters": {},
            "responses": {},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an access token or an API key"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    for service, document in documents.items():
        for path, item in document.get("paths", {}).items():
            if path.startswith(_PRIVATE):
                continue
            if path in merged["paths"]:
                raise ValueError(f"{service} serves {path}, and so does another service")
            merged["paths"][path] = {method: _secured(path, operation) for method, operation in item.items()}
        for kind in ("schemas", "parameters", "responses"):
            parts = merged["components"][kind]
            for name, part in document.get("components", {}).get(kind, {}).items():
                if parts.setdefault(name, part) != part:
                    raise ValueError(f"{service} defines the {kind[:-1]} {name} differently from another service")
    return merged


_OPEN = frozenset(
    {
        "/api/v1/auth/register",
        "/api/v1/auth/login",
        "/api/v1/auth/password/forgot",
        "/api/v1/auth/password/reset",
        "/api/v1/auth/refresh",
        "/api/v1/auth/logout",
        "/.well-known/jwks.json",
    }
)


def _secured(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    operation = {key: value for key, value in operation.items() if not key.startswith("x-own")}
    if path in _OPEN:
        return operation
    return {**operation, "security": [{"bearer": []}, {"api_key": []}]}
