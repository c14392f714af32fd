"""The answers that are given again, in the memory of this process (docs/adr/0002, docs/adr/0015).

An answer is kept under a hash of the canonical request and of everything that could change the answer for this caller. It is
used, and kept, only while every data version it was made from is the newest the market facts have told of; a fact that tells of
another one takes it out. The least recently used go first when there is no room.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qsl

from gateway.domain.ports import BarVersions
from shared.limits.plans import Entitlements

__all__ = [
    "LONGEST",
    "MAX_AGE_S",
    "SURROGATE_KEY",
    "AnswerCache",
    "CacheCounts",
    "Keepable",
    "Tags",
    "Views",
    "request_key",
    "tags_in",
]

SURROGATE_KEY = b"surrogate-key"
LONGEST = 512 << 10
"""Bytes of a body that is kept."""
MAX_AGE_S = 30 * 60.0
_PREFIX = "bars:"
_OVERHEAD = 1024
"""Bytes that one entry takes beside what is counted, roughly."""

Tags = tuple[tuple[str, str], ...]
"""Symbols with the data versions that an answer was made from."""


def request_key(path: bytes, query: bytes, accept: bytes) -> bytes:
    """Parameters in any order are one request (of one name, their order counts)."""
    parameters = sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1"), key=itemgetter(0))
    return hashlib.sha256(repr((path, parameters, accept)).encode()).digest()


class Views:
    """What a tier sees, as a part of the key: its callers share answers for as long as their entitlements are the same.

    Remembered by tier, of which the plan file has few, and made again when the plans are read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Entitlements, bytes]] = {}

    def key(self, tier: str, entitlements: Entitlements) -> bytes:
        known = self._known.get(tier)
        if known is None or known[0] is not entitlements:
            digest = hashlib.sha256(repr((tier, entitlements.model_dump_json())).encode()).digest()
            known = self._known[tier] = entitlements, digest
        return known[1]


def tags_in(surrogate_key: bytes) -> Tags | None:
    """Of `bars:<SYMBOL>@<version> …`; None when it names anything else, nothing, or two versions of one symbol."""
    tags: dict[str, str] = {}
    for tag in surrogate_key.decode("latin-1").split():
        symbol, at, version = tag.removeprefix(_PREFIX).rpartition("@")
        if not (tag.startswith(_PREFIX) and at and symbol) or tags.setdefault(symbol, version) != version:
            return None
    return tuple(tags.items()) or None


class Keepable(Protocol):
    """`size` in bytes."""

    @property
    def tags(self) -> Tags: ...

    @property
    def size(self) -> int: ...


A = TypeVar("A", bound=Keepable)


@dataclass(slots=True, eq=False)
class CacheCounts:
    """Since the start, but for `bytes` and `answers`, which are there now."""

    bytes: int = 0
    answers: int = 0
    evicted_by_fact: int = 0
    evicted_by_age: int = 0
    evicted_for_room: int = 0
    overtaken: int = 0
    """Not kept, because a fact was faster, or has yet to come."""


class AnswerCache(Generic[A]):
    """`now` is a monotonic clock in seconds."""

    def __init__(self, versions: BarVersions, max_bytes: int, now: Callable[[], float]) -> None:
        self._versions = versions
        self._max_bytes = max_bytes
        self._now = now
        self._kept: OrderedDict[bytes, tuple[A, float]] = OrderedDict()
        self._of_symbol: dict[str, set[bytes]] = {}
        self.counts = CacheCounts()

    @property
    def in_use(self) -> bool:
        """False while a fact may have been missed, so that no answer can be trusted to be new."""
        return self._versions.current

    @property
    def moment(self) -> int:
        """For `is_news_since`: how many facts there were so far."""
        return self._versions.moves

    def find(self, key: bytes) -> A | None:
        found = self._kept.get(key)
        if found is None or not self._versions.current:
            return None
        answer, kept_at = found
        if not self._is_newest(answer.tags):
            return None
        if self._now() - kept_at > MAX_AGE_S:
            self._drop(key)
            self.counts.evicted_by_age += 1
            return None
        self._kept.move_to_end(key)
        return answer

    def keep(self, key: bytes, answer: A) -> None:
        """Only what was not overtaken while it was under way, and what takes no more than its part of the room."""
        if not (self._versions.current and self._is_newest(answer.tags)):
            self.counts.overtaken += 1
            return
        if answer.size + _OVERHEAD > self._max_bytes:
            return
        self._drop(key)
        self._kept[key] = answer, self._now()
        for symbol, _ in answer.tags:
            self._of_symbol.setdefault(symbol, set()).add(key)
        self.counts.answers += 1
        self.counts.bytes += answer.size + _OVERHEAD
        while self.counts.bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
            self.counts.evicted_for_room += 1

    def evict(self, symbol: str) -> None:
        """A fact has told of the symbol: what was made from other bars goes."""
        newest = self._versions.newest(symbol)
        for key in [key for key in self._of_symbol.get(symbol, ()) if (symbol, newest) not in self._kept[key][0].tags]:
            self._drop(key)
            self.counts.evicted_by_fact += 1

    def is_news_since(self, tags: Tags, moment: int) -> bool:
        """Whether an answer that was asked for at that moment may be given to who came later: no fact has overtaken it."""
        versions = self._versions
        return versions.current and all(
            versions.newest(symbol) == version or versions.moved(symbol) <= moment for symbol, version in tags
        )

    def _is_newest(self, tags: Tags) -> bool:
        newest = self._versions.newest
        for symbol, version in tags:  # noqa: SIM110 - a generator would take twice as long, on every hit
            if newest(symbol) != version:
                return False
        return True

    def _drop(self, key: bytes) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is None:
            return
        answer, _ = dropped
        self.counts.answers -= 1
        self.counts.bytes -= answer.size + _OVERHEAD
        for symbol, _version in answer.tags:
            keys = self._of_symbol[symbol]
            keys.discard(key)
            if not keys:
                del self._of_symbol[symbol]
