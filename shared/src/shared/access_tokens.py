"""The form of an access token (RFC 9068): what auth-service issues and the gateway accepts, and nothing else.

A JWT signed with Ed25519 (`alg: EdDSA`, RFC 8037), `typ: at+jwt`, with `kid` in its header and iss, aud, sub (the user's id),
sid (the session's id), jti, iat and exp in its claims. Tier and roles are not in it: they are resolved, so that a change of them
counts at once.
"""

__all__ = ["ALGORITHM", "AUDIENCE", "ISSUER", "LIFETIME_S", "TYPE"]

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
ISSUER = "kalpi"
AUDIENCE = "kalpi-api"
LIFETIME_S = 900
