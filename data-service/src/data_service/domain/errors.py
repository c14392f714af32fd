"""What data-service answers when it cannot give bars.

NotFound
├── UnknownSymbol
└── UnknownExchange      matches
InvalidInput
└── NotServed            an interval finer than what is stored
ValueError
└── UnfitBars            a file or a bar that is refused; every fault named
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import InvalidInput, NotFound

__all__ = ["NotServed", "UnfitBars", "UnknownExchange", "UnknownSymbol"]


class UnknownSymbol(NotFound):
    slug = "unknown-symbol"
    title = "Unknown symbol"

    def __init__(self, symbol: str) -> None:
        super().__init__(f"no bars are stored for {symbol}")


class UnknownExchange(NotFound):
    slug = "unknown-exchange"
    title = "Unknown exchange"

    def __init__(self, exchange: str, matches: Sequence[str]) -> None:
        """`matches` are names that look like it."""
        meant = f"; did you mean {' or '.join(matches)}?" if matches else ""
        super().__init__(f"there is no calendar of {exchange[:32]}{meant}")
        self.matches = tuple(matches)

    @property
    def members(self) -> Mapping[str, Any]:
        return {"matches": self.matches}


class NotServed(InvalidInput):
    def __init__(self, symbol: str, interval: str, served: Sequence[str]) -> None:
        message = f"finer than the bars of {symbol}; served: {', '.join(served)}"
        super().__init__(f"{interval}: {message}", [{"loc": ["query", "interval"], "msg": message, "type": "value_error"}])


class UnfitBars(ValueError):
    """`faults` name row, column and reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> "tuple[type[UnfitBars], tuple[tuple[str, ...]]]":
        """As it crosses from one process to another."""
        return type(self), (self.faults,)
