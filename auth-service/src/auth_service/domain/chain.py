"""The chain of the audit trail: each event, once sealed, has a sequence number and a hash that covers it and all before it.

    hash(0) = 32 zero bytes
    hash(n) = SHA-256(hash(n - 1) || the event's canonical bytes)

The canonical bytes are the event as JSON, in UTF-8: `version` (1) and every column of its row but the hash, the names sorted, no
white space, nothing escaped that need not be; ids as text, times as `2026-11-25T02:53:00.123456+00:00`. They are made of what is
read back from the database, so that what is stored is what is verified.

Who may write to the database may also compute hashes. So heads, which are a sequence number and its hash, are signed (Ed25519) by
a key that the database does not hold, and leave for a log and a file: a trail cut or rewritten later does not lead to them.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auth_service.domain.auditing import as_json
from auth_service.domain.model import AuditEvent

__all__ = [
    "GENESIS",
    "Head",
    "Link",
    "Recorded",
    "Sealed",
    "document",
    "following",
    "head_bytes",
    "head_document",
    "parse_head",
    "sealed",
]

_VERSION = 1
_HEAD = b"kalpi audit head v1:"


@dataclass(frozen=True, slots=True)
class Link:
    seq: int
    hash: bytes


GENESIS = Link(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is stored; `recorded` numbers the rows as they were written, whether or not that was committed."""

    recorded: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class Sealed:
    link: Link
    row: Recorded

    @property
    def event(self) -> AuditEvent:
        return self.row.event


@dataclass(frozen=True, slots=True)
class Head:
    """`kid` names the public key (RFC 7638's thumbprint)."""

    link: Link
    signed_at: datetime
    kid: str
    signature: bytes


def sealed(previous: Link, rows: Sequence[Recorded]) -> list[Sealed]:
    """The rows, in this order, behind the link before."""
    found = []
    for row in rows:
        previous = following(previous, row)
        found.append(Sealed(previous, row))
    return found


def following(previous: Link, row: Recorded) -> Link:
    seq = previous.seq + 1
    return Link(seq, hashlib.sha256(previous.hash + _canonical(_columns(seq, row))).digest())


def document(one: Sealed) -> dict[str, Any]:
    """What its hash covers, and its hash: who has this of every event can verify the chain."""
    return {**_columns(one.link.seq, one.row), "hash": one.link.hash.hex()}


def head_bytes(link: Link, signed_at: datetime) -> bytes:
    """What is signed."""
    return _HEAD + _canonical(_head(link, signed_at))


def head_document(head: Head) -> dict[str, Any]:
    return {**_head(head.link, head.signed_at), "kid": head.kid, "signature": base64.b64encode(head.signature).decode()}


def parse_head(text: str) -> Head:
    """A line of the exported file; ValueError when it is none."""
    try:
        told = json.loads(text)
        link = Link(int(told["seq"]), bytes.fromhex(told["hash"]))
        signed_at = datetime.fromisoformat(told["signed_at"])
        return Head(link, signed_at, str(told["kid"]), base64.b64decode(told["signature"], validate=True))
    except (KeyError, TypeError) as error:
        raise ValueError("not a head of the audit trail") from error


def _head(link: Link, signed_at: datetime) -> dict[str, Any]:
    return {"seq": link.seq, "hash": link.hash.hex(), "signed_at": as_json(signed_at)}


def _columns(seq: int, row: Recorded) -> dict[str, Any]:
    event = row.event
    origin = event.origin
    return {
        "version": _VERSION,
        "seq": seq,
        "recorded": row.recorded,
        "id": str(event.id),
        "occurred_at": as_json(event.occurred_at),
        "noun": event.noun,
        "event": event.event,
        "actor": origin.actor,
        "request_id": origin.request_id,
        "client_ip": origin.client_ip,
        "user_id": as_json(event.user_id),
        "tenant_id": as_json(event.tenant_id),
        "key_id": as_json(event.key_id),
        "session_id": as_json(event.session_id),
        "details": event.details,
        "before": event.before,
        "after": event.after,
    }


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
