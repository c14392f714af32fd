"""What a request proves itself with: one API key or one access token, in one header."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.domain.errors import BadCredential
from shared.api_keys import PREFIX, digest, is_well_formed

__all__ = ["ApiKey", "BearerToken", "credential_of"]

_LONGEST_TOKEN = 4096
_HOW = "send an API key as X-API-Key, or a key or an access token as Authorization: Bearer"


@dataclass(frozen=True, slots=True)
class ApiKey:
    sha256: str


@dataclass(frozen=True, slots=True)
class BearerToken:
    text: str


def credential_of(api_key: Sequence[bytes], authorization: Sequence[bytes]) -> ApiKey | BearerToken:
    """From the values of the two headers. BadCredential when there is none, more than one, or not one of ours by its form."""
    if len(api_key) + len(authorization) != 1:
        raise BadCredential(_HOW if not api_key and not authorization else "send one credential")
    if api_key:
        return _key(api_key[0].decode("latin-1"))
    scheme, _, text = authorization[0].decode("latin-1").partition(" ")
    text = text.strip(" ")  # and no more: white space of other alphabets is a part of it
    if scheme.lower() != "bearer" or not text:
        raise BadCredential(_HOW)
    if text.startswith(PREFIX):
        return _key(text)
    if len(text) > _LONGEST_TOKEN:
        raise BadCredential
    return BearerToken(text)


def _key(text: str) -> ApiKey:
    if not is_well_formed(text):
        raise BadCredential("this is not an API key: a character is wrong, or some are missing")
    return ApiKey(digest(text))
