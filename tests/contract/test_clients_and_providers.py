"""What a client adapter sends is what its provider takes, and what it reads is what the provider promises."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from gateway.adapters.auth_client import CallerAnswer, OriginsAnswer, ResolveAnswer, resolve_request
from gateway.domain.lookups import MOST_AT_ONCE
from gateway.domain.ports import Identity
from indicator_service.domain.request import Adjustment, Interval
from shared.ids import new_id
from tests.contract.documents import accepts, answer_schema, missing, operation, resolved
from tests.support.routes import ROUTES, TABLE

Documents = Mapping[str, Any]
RESOLVE = "/internal/v1/resolve/batch"


@pytest.mark.parametrize(
    "identity",
    [Identity(key_sha256="0" * 64), Identity(user_id=str(new_id()), session_id=str(new_id()))],
    ids=["a key", "a session"],
)
def test_auth_service_takes_what_the_gateway_asks(documents: Documents, identity: Identity) -> None:
    body = resolve_request([identity] * MOST_AT_ONCE)
    auth = documents["auth-service"]
    assert accepts(auth, "post", RESOLVE, body)
    assert not accepts(auth, "post", RESOLVE, {**body, "more": 1}), "the schema is one that refuses"
    (question,) = resolve_request([identity])["callers"]
    assert not accepts(auth, "post", RESOLVE, {"callers": [{**question, "more": 1}]})
    assert not accepts(auth, "post", RESOLVE, {"callers": [{"kind": question["kind"]}]})
    assert not accepts(auth, "post", RESOLVE, resolve_request([identity] * (MOST_AT_ONCE + 1)))


def test_auth_service_promises_what_the_gateway_reads_of_callers(documents: Documents) -> None:
    auth = documents["auth-service"]
    provided = answer_schema(auth, "post", RESOLVE)
    assert missing(ResolveAnswer.model_json_schema(), provided) == []
    (caller,) = [one for one in provided["properties"]["callers"]["items"]["anyOf"] if one != {"type": "null"}]
    assert missing(CallerAnswer.model_json_schema(), resolved(auth, caller)) == []


def test_auth_service_promises_what_the_gateway_reads_of_keys(documents: Documents) -> None:
    auth = documents["auth-service"]
    keys = answer_schema(auth, "get", "/.well-known/jwks.json")
    assert "keys" in keys["required"]
    assert {"kid", "kty", "crv", "x"} <= set(resolved(auth, keys["properties"]["keys"]["items"])["required"])


def test_auth_service_promises_the_origins_that_the_gateway_reads(documents: Documents) -> None:
    provided = answer_schema(documents["auth-service"], "get", "/internal/v1/origins")
    assert missing(OriginsAnswer.model_json_schema(), provided) == []


def test_data_service_takes_what_indicator_service_asks(documents: Documents) -> None:
    described = operation(documents["data-service"], "get", "/internal/v1/bars/{symbol}")["parameters"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in described}
    assert set(get_args(Interval)) <= set(parameters["interval"]["enum"])
    assert set(get_args(Adjustment)) <= set(parameters["adjustment"]["enum"])


def test_every_public_path_is_routed_to_the_service_that_serves_it(documents: Documents) -> None:
    for service, document in documents.items():
        for path in document["paths"]:
            route = TABLE.of(path.replace("{", "").replace("}", "").encode())
            assert (route.service if route else None) == (None if path.startswith("/internal/") else service), path


def test_every_route_leads_to_a_path_that_is_served(documents: Documents) -> None:
    for route in ROUTES:
        served = documents[route.service]["paths"]
        assert any(route.matches(path) for path in served), route
