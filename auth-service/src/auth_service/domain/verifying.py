"""Whether the trail is what was sealed: each row against the one before it, and the whole against heads signed earlier."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from auth_service.domain.chain import GENESIS, Head, Link, Sealed, following

__all__ = ["ChainCheck", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a sequence number (of several missing rows, the first)."""

    seq: int
    words: str


class ChainCheck:
    """Takes every sealed row in the order of its number, and holds none of them. `heads` are some whose signature was checked."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._heads = iter(sorted(heads, key=lambda head: head.link.seq))
        self._head = next(self._heads, None)
        self.last: Link = GENESIS
        self.heads_met = 0
        self.newest_head = 0
        """The number of the newest head that the trail leads to: what comes after it, nobody outside vouches for."""

    def take(self, row: Sealed) -> Iterator[Fault]:
        link, previous = row.link, self.last
        if link.seq != previous.seq + 1:
            yield Fault(previous.seq + 1, f"missing: after {previous.seq} comes {link.seq}")
        elif following(previous, row.row).hash != link.hash:
            yield Fault(link.seq, "changed: its hash is not that of this row after the one before")
        self.last = link
        yield from self._compare(link)

    def end(self) -> Iterator[Fault]:
        """Once there is no row any more."""
        while self._head is not None:
            seq = self._head.link.seq
            if seq > self.last.seq:
                yield Fault(seq, f"cut: a head was signed at {seq}, and the trail ends at {self.last.seq}")
            self._next_head()

    def _compare(self, link: Link) -> Iterator[Fault]:
        while self._head is not None and self._head.link.seq <= link.seq:
            # one of a row that is missing is told of by that
            if self._head.link.seq == link.seq:
                if self._head.link.hash == link.hash:
                    self.heads_met += 1
                    self.newest_head = link.seq
                else:
                    yield Fault(link.seq, "rewritten: the head signed here has another hash")
            self._next_head()

    def _next_head(self) -> None:
        self._head = next(self._heads, None)
