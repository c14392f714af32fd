"""The ring of signing keys: which signs now, which are published, and what a rotation changes.

No key is in it, only names and times (`auth_service.adapters.tokens` derives the keys). A key is published from the moment it
is in the ring, and signs `LEAD` later: whoever verifies knows it by then. When a later one has taken over it stays published for
`OVERLAP`, until what it signed last has expired.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from auth_service.domain.errors import NoSigningKey, RotationUnderWay
from shared.access_tokens import LIFETIME_S

__all__ = ["FIRST", "LEAD", "OVERLAP", "SigningKey", "SigningRing", "State"]

FIRST = UUID(int=0)
"""The name of the key that signs before there was any rotation; its revision of the schema puts it into the ring."""

LEAD = timedelta(seconds=60)
OVERLAP = timedelta(seconds=LIFETIME_S + 60)
"""A token's life, and a minute for clocks that differ and a process that is late to read the ring."""

State = Literal["waits", "signs", "verifies", "ended"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`verify_until` is None until a later key is there to take over."""

    id: UUID
    signs_from: datetime
    verify_until: datetime | None = None

    def is_published(self, now: datetime) -> bool:
        """And accepted: whoever verifies accepts what is published."""
        return self.verify_until is None or now < self.verify_until


@dataclass(frozen=True, slots=True)
class SigningRing:
    keys: Sequence[SigningKey]

    def published(self, now: datetime) -> list[SigningKey]:
        """Newest first."""
        return sorted((key for key in self.keys if key.is_published(now)), key=_age, reverse=True)

    def signing(self, now: datetime) -> SigningKey:
        """The newest whose time has come; NoSigningKey when none is published."""
        published = self.published(now)
        if not published:
            raise NoSigningKey
        # where the only keys left are yet to sign, this machine's clock is behind that of the one that rotated
        return next((key for key in published if key.signs_from <= now), published[-1])

    def state(self, key: SigningKey, now: datetime) -> State:
        if not key.is_published(now):
            return "ended"
        if key == self.signing(now):
            return "signs"
        return "waits" if key.signs_from > now else "verifies"

    def rotated(self, new: UUID, now: datetime) -> list[SigningKey]:
        """The keys that are new or changed, the new one first. RotationUnderWay while one waits to sign."""
        waiting = [key for key in self.published(now) if key.signs_from > now]
        if waiting:
            raise RotationUnderWay(waiting[0].signs_from)
        added = SigningKey(new, now + LEAD)
        retired = [replace(key, verify_until=added.signs_from + OVERLAP) for key in self.keys if key.verify_until is None]
        return [added, *retired]

    def revoked(self, new: UUID, now: datetime) -> list[SigningKey]:
        """As `rotated`, at once: the new key signs from now on and every other one ends, with all that it signed."""
        return [SigningKey(new, now), *(replace(key, verify_until=now) for key in self.published(now))]


def _age(key: SigningKey) -> tuple[datetime, UUID]:
    return key.signs_from, key.id
