"""What the computation needs of the world."""

from typing import Protocol

from indicator_service.domain.series import Bars

__all__ = ["BarSource"]


class BarSource(Protocol):
    async def bars(self, symbol: str, interval: str, adjustment: str) -> Bars:
        """The symbol's whole history, never older than what data-service has when asked.

        Raises NotFound for an unknown symbol, InvalidInput for an interval that is not stored, Unavailable when nobody answers.
        """
        ...
