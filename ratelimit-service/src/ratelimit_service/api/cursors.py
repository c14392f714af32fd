"""Where the next page begins: behind the last row of this one, and of use for the same question alone."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import orjson

from shared.errors import InvalidInput

__all__ = ["decode", "encode"]


def encode(question: str, at: datetime, names: Sequence[str]) -> str:
    raw = orjson.dumps([_digest(question), int(at.timestamp()), *names])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(question: str, cursor: str, names: int, *, ids: bool) -> tuple[datetime, list[str]]:
    """InvalidInput for one that is not ours, or of another question; a row has so many names, or ids."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, at, *found = orjson.loads(raw)
        moment = datetime.fromtimestamp(at, UTC)
        found = [str(UUID(name)) if ids else _text(name) for name in found]
    except (binascii.Error, ValueError, TypeError, AttributeError, OverflowError, OSError):
        raise InvalidInput.field("query", "cursor", msg="not a cursor of this API") from None
    if digest != _digest(question) or len(found) != names:
        raise InvalidInput.field("query", "cursor", msg="a cursor of another request")
    return moment, found


def _text(name: str) -> str:
    if "\0" in name:  # Postgres has no such text
        raise ValueError(name)
    return name


def _digest(question: str) -> str:
    return hashlib.blake2b(question.encode(), digest_size=8).hexdigest()
