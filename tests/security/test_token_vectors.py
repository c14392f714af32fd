"""Published test vectors through the gateway's verifier."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import jwt
import pytest

from auth_service.adapters.tokens import SignedTokens
from auth_service.domain.signing import FIRST, SigningKey, SigningRing
from gateway.adapters.auth_client import AuthClient
from gateway.domain.errors import BadCredential
from gateway.domain.tokens import SigningKeys, TokenVerifier
from shared.clock import system_clock
from shared.ids import new_id
from tests.security.forging import decoded
from tests.support.stack import ROOT

VECTORS = ROOT.parent / "shared/vectors/wycheproof/json_web_signature_test.json"
USER, SESSION = new_id(), new_id()

# RFC 8037, appendix A: the private key of A.1, its thumbprint of A.3, the token of A.4
RFC_PRIVATE = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def issuer() -> SignedTokens:
    """auth-service's own, with the RFC's key."""
    tokens = SignedTokens([decoded(RFC_PRIVATE)], clock=system_clock, new_id=new_id)
    tokens.use(SigningRing([SigningKey(FIRST, system_clock())]))
    return tokens


class Client:
    """Stands for the connection to auth-service: it answers with a key set."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._jwks = jwks

    async def get(self, _path: str) -> httpx.Response:
        return httpx.Response(200, json=self._jwks)


class Trusting(AuthClient):
    """auth-service's keys, and those of a vector, by every name that it may ask for."""

    def __init__(self, also: Mapping[str, Any]) -> None:
        super().__init__(Client(issuer().jwks()))  # type: ignore[arg-type]  # all of it that is used
        self._also = also

    async def signing_keys(self) -> Mapping[str, Any]:
        return {**self._also, **await super().signing_keys()}


async def verifier_that_trusts(also: Mapping[str, Any] | None = None) -> TokenVerifier:
    keys = SigningKeys(Trusting(also or {}))
    await keys.refresh()
    return TokenVerifier(keys, system_clock)


def accepts(verifier: TokenVerifier, text: str) -> bool:
    try:
        # as the edge reads a header
        verifier.verify(text.encode().decode("latin-1"))
    except BadCredential:
        return False
    return True


@pytest.mark.skipif(not VECTORS.exists(), reason="the Wycheproof vectors are not beside this repository (../shared/vectors)")
async def test_no_vector_of_wycheproof_is_accepted_even_where_its_key_is_trusted() -> None:
    """None is signed with Ed25519: those that are valid for what they are, RSA, ECDSA or HMAC, are no tokens of ours either."""
    groups = json.loads(VECTORS.read_text())["testGroups"]
    accepted, results = [], []
    for group in groups:
        jwk = group.get("public", group["private"])
        verifier = await verifier_that_trusts(trusted(jwk, group["tests"]))
        assert accepts(verifier, issuer().issue(USER, SESSION)), "one that refuses everything shows nothing"
        for vector in group["tests"]:
            results.append(vector["result"])
            if accepts(verifier, vector["jws"]):
                accepted.append(vector["tcId"])
    assert accepted == []
    assert (len(results), results.count("valid")) == (401, 46)


def trusted(jwk: Mapping[str, Any], vectors: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The key by its own name and by each that the vectors' headers have; none where no library here can make it."""
    try:
        key = jwt.PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
    except jwt.PyJWTError:
        return {}
    return dict.fromkeys({str(jwk.get("kid")), *map(kid_of, vectors)}, key)


def kid_of(vector: Mapping[str, Any]) -> str:
    try:
        return str(jwt.get_unverified_header(vector["jws"]).get("kid"))
    except jwt.PyJWTError:
        return "none"


async def test_the_keys_of_rfc_8037_are_read_and_named_as_it_says() -> None:
    (key,) = issuer().jwks()["keys"]
    assert key["kid"] == RFC_THUMBPRINT
    keys = await Trusting({}).signing_keys()
    signing_input, _, signature = RFC_TOKEN.rpartition(".")
    keys[RFC_THUMBPRINT].verify(decoded(signature), signing_input.encode())


async def test_the_token_of_rfc_8037_is_genuine_and_still_no_access_token() -> None:
    """Its signature is good, its header says neither what it is nor whose key."""
    verifier = await verifier_that_trusts()
    assert not accepts(verifier, RFC_TOKEN)
    assert accepts(verifier, issuer().issue(USER, SESSION))
