"""The signed principal: what a service believes, and what it refuses."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Unauthenticated
from shared.principal import EnvelopeSigner, EnvelopeVerifier, KeyRing, Principal
from shared.settings import decode_key

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ALICE = Principal(kind="user", user_id="alice", tenant_id="t1", tier="pro", roles=("admin",))


def sign(keys: KeyRing, *, at: datetime = NOW, audience: str = "data-service") -> str:
    return EnvelopeSigner(keys, lambda: at).sign(ALICE, audience=audience, client_ip="192.0.2.1")


def verifier(keys: KeyRing, *, at: datetime = NOW) -> EnvelopeVerifier:
    return EnvelopeVerifier(keys, "data-service", lambda: at)


def test_a_signed_principal_arrives_whole() -> None:
    envelope = verifier(KeyRing({"k": NEW})).verify(sign(KeyRing({"k": NEW})))
    assert envelope.principal == ALICE
    assert envelope.client_ip == "192.0.2.1"


def test_during_rotation_the_older_key_still_verifies() -> None:
    signed_before = sign(KeyRing({"old": OLD}))
    assert verifier(KeyRing({"new": NEW, "old": OLD})).verify(signed_before).kid == "old"


def test_the_newest_key_signs() -> None:
    assert verifier(KeyRing({"new": NEW})).verify(sign(KeyRing({"new": NEW, "old": OLD}))).kid == "new"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "absent"),
        ("", "empty"),
        ("garbage", "no signature"),
        ("e30.e30", "an empty object"),
        ("ÿ.ÿ", "not ASCII"),
        (sign(KeyRing({"k": OLD})), "another key under the same name"),
        (sign(KeyRing({"other": NEW})), "an unknown key"),
        (sign(KeyRing({"k": NEW}), audience="auth-service"), "meant for another service"),
        (sign(KeyRing({"k": NEW}), at=NOW - timedelta(seconds=31)), "expired"),
        (sign(KeyRing({"k": NEW}), at=NOW + timedelta(hours=1)), "valid for longer than a signer may say"),
    ],
)
def test_anything_else_is_refused(header: str | None, why: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier(KeyRing({"k": NEW})).verify(header)


def test_one_that_was_believed_is_refused_once_it_has_expired() -> None:
    now = NOW
    asked = EnvelopeVerifier(KeyRing({"k": NEW}), "data-service", lambda: now)
    header = sign(KeyRing({"k": NEW}))
    for seconds in (0, 29):
        now = NOW + timedelta(seconds=seconds)
        assert asked.verify(header).principal == ALICE
    now = NOW + timedelta(seconds=30)
    with pytest.raises(Unauthenticated):
        asked.verify(header)


def test_a_ring_is_read_from_one_variable_and_its_first_key_signs() -> None:
    ring = KeyRing.parse(f"new:{_text(NEW)}, old:{_text(OLD)}")
    assert ring.newest == "new"
    assert verifier(ring).verify(sign(KeyRing({"old": OLD}))).kid == "old"


@given(st.integers(min_value=0, max_value=10_000), st.integers(min_value=1, max_value=255))
def test_no_changed_byte_survives(position: int, change: int) -> None:
    header = bytearray(sign(KeyRing({"k": NEW})).encode())
    header[position % len(header)] ^= change
    with pytest.raises(Unauthenticated):
        verifier(KeyRing({"k": NEW})).verify(header.decode("latin-1"))


def test_a_caller_cannot_add_fields() -> None:
    payload, _, signature = sign(KeyRing({"k": NEW})).partition(".")
    document = json.loads(base64.urlsafe_b64decode(payload + "=="))
    document["principal"]["tier"] = "enterprise"
    forged = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        verifier(KeyRing({"k": NEW})).verify(f"{forged}.{signature}")


@pytest.mark.parametrize("key", ["", "short", "A" * 43, "changeme-changeme-changeme-changeme-changeme", "not base64url!!!"])
def test_a_placeholder_is_not_a_key(key: str) -> None:
    with pytest.raises(ValueError, match=r"base64url|shorter|placeholder|random"):
        decode_key(key)


def _text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def test_what_a_principal_does_not_have_is_not_in_the_header() -> None:
    """So that a service of the release before, which refuses what it does not know, understands it."""
    payload = sign(KeyRing({"k": NEW})).partition(".")[0]
    document = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert set(document["principal"]) == {"kind", "user_id", "tenant_id", "tier", "roles", "scopes"}
