"""A service asked directly, past the gateway: the headers that vouch for somebody."""

import json

from shared.clock import system_clock
from shared.limits.plans import Entitlements
from shared.principal import HEADER, EnvelopeSigner, KeyRing, Principal
from tests.support.stack import Stack

__all__ = ["signed"]

_ALL = Entitlements(indicators="all", batch_series=1, features=("screener", "expressions", "patterns"))


def signed(stack: Stack, audience: str) -> dict[str, str]:
    """They hold for 30 s."""
    keys = json.loads((stack.home / "secrets.json").read_text())["principal_keys"]
    signer = EnvelopeSigner(KeyRing.parse(keys), system_clock)
    someone = Principal(kind="user", user_id="bench", tenant_id="bench", tier="premium")
    return {HEADER: signer.sign(someone, audience=audience, entitlements=_ALL)}
