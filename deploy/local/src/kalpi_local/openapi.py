"""The public OpenAPI document, made from the services' own and kept in the gateway, which serves it."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import auth_service.app
import auth_service.settings
import data_service.app
import data_service.settings
import gateway
import indicator_service.app
import indicator_service.settings
import ratelimit_service.app
import ratelimit_service.settings
from gateway.adapters.route_files import shipped_routes
from gateway.domain.route_file import parse_routes
from gateway.domain.routing import RouteTable
from shared.openapi import merge_documents

__all__ = ["document_path", "public_document", "render", "service_documents"]

_DESCRIPTION = (
    "Technical analysis of stocks, exact like TA-Lib. Send a key as `X-API-Key`, or a key or an access token as "
    "`Authorization: Bearer`. "
    "A key has scopes, chosen where it is made, and a session all that its user's roles allow; each call says which one it takes "
    "(also in the list in its `security`), and without it answers a 403 that names it in `required_scope`. "
    "Errors are RFC 9457 problem+json; every data response carries RateLimit fields."
)


def service_documents() -> dict[str, dict[str, Any]]:
    """Builds every app behind the gateway (none is started): what each says of itself, by its name."""
    nowhere = _settings_of_nowhere()
    return {
        "auth-service": auth_service.app.create_app(auth_service.settings.Settings(**nowhere)).openapi(),
        "data-service": data_service.app.create_app(data_service.settings.Settings(**nowhere)).openapi(),
        "indicator-service": indicator_service.app.create_app(indicator_service.settings.Settings(**nowhere)).openapi(),
        "ratelimit-service": ratelimit_service.app.create_app(ratelimit_service.settings.Settings(**nowhere)).openapi(),
    }


def public_document() -> dict[str, Any]:
    document = merge_documents(service_documents(), title="Kalpi", version="1", description=_DESCRIPTION)
    routes = RouteTable(parse_routes(shipped_routes()))
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _name_scope(routes, path, method, operation)
    return document


def _name_scope(routes: RouteTable, path: str, method: str, operation: dict[str, Any]) -> None:
    """As the edge asks for it, for programs and for who reads `/docs`."""
    route = routes.of(path.replace("{", "").replace("}", "").encode())
    scope = route.scope_for(method.upper()) if route is not None else None
    if scope is not None:
        operation["security"] = [{scheme: [scope] for scheme in one} for one in operation["security"]]
        told = operation.get("description")
        operation["description"] = "\n\n".join(filter(None, [told, f"Scope: `{scope}`."]))


def document_path() -> Path:
    return Path(gateway.__file__).parent / "openapi.json"


def render(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _settings_of_nowhere() -> dict[str, Any]:
    """Enough for an app to be made: keys used for nothing, addresses never opened."""
    key = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    urls = ("http://127.0.0.1:1",)
    return {
        "principal_keys": f"unused:{key}",
        "signing_key": key,
        "refresh_key": key,
        "audit_key": key,
        "mail_url": "file:///unused",
        "database_url": "postgresql://127.0.0.1:1/unused",
        "redis_url": "redis://127.0.0.1:1",
        "nats_url": "nats://127.0.0.1:1",
        "state_dir": Path(os.devnull),
        "data_urls": urls,
    }
