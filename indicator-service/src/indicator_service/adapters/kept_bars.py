"""Bars that are kept, as long as there is room.

The columns of many symbols are stretches of one answer, whose memory is free again only once nobody holds any of them. So what is
counted are answers, whole until the last of their symbols has gone.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date

from indicator_service.domain.series import Bars

__all__ = ["Block", "KeptBars", "Key"]

Key = tuple[str, str, str, date | None]
"""Symbol, interval, adjustment, as_of."""


@dataclass(slots=True, eq=False)
class Block:
    """The memory that some bars share."""

    nbytes: int
    holders: int = field(default=0, init=False)


class KeptBars:
    """The least recently used go first."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: OrderedDict[Key, tuple[Bars, Block]] = OrderedDict()
        self._left = max_bytes

    def get(self, key: Key) -> Bars | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        self._kept.move_to_end(key)
        return entry[0]

    def keep(self, key: Key, bars: Bars, block: Block) -> None:
        if key in self._kept:
            self._let_go(self._kept.pop(key)[1])
        self._kept[key] = bars, block
        block.holders += 1
        if block.holders == 1:
            self._left -= block.nbytes
        while self._left < 0 and self._kept:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._let_go(oldest)

    def _let_go(self, block: Block) -> None:
        block.holders -= 1
        if block.holders == 0:
            self._left += block.nbytes
