"""What the computation needs of the world."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from indicator_service.domain.series import Bars

__all__ = ["BarSource", "ManyBars"]


@dataclass(frozen=True, slots=True)
class ManyBars:
    """Bars by symbol, and of the symbols that have none the reason."""

    found: Mapping[str, Bars]
    missing: Mapping[str, str]


class BarSource(Protocol):
    """Bars are never older than what data-service has when asked. `as_of`: as if there were none after that day yet."""

    async def bars(self, symbol: str, interval: str, adjustment: str, as_of: date | None = None) -> Bars:
        """The symbol's whole history.

        Raises NotFound for an unknown symbol, InvalidInput for an interval that is not stored, Unavailable when nobody answers.
        """
        ...

    def many(
        self,
        symbols: Sequence[str] | None,
        interval: str,
        adjustment: str,
        as_of: date | None = None,
        columns: Collection[str] = ("close",),
    ) -> AsyncIterator[ManyBars]:
        """The same of many symbols (None: of all) in parts, the next one on its way while one is computed on; each symbol is in
        one of them. Columns that were not asked for may be empty. Raises Unavailable.
        """
        ...
