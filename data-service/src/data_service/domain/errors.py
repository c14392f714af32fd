"""What data-service answers when it cannot give bars.

NotFound
└── UnknownSymbol
ValueError
└── UnfitBars            a file or a bar that is refused; every fault named
"""

from collections.abc import Sequence

from shared.errors import NotFound

__all__ = ["UnfitBars", "UnknownSymbol"]


class UnknownSymbol(NotFound):
    slug = "unknown-symbol"
    title = "Unknown symbol"

    def __init__(self, symbol: str) -> None:
        super().__init__(f"no bars are stored for {symbol}")


class UnfitBars(ValueError):
    """`faults` name row, column and reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> "tuple[type[UnfitBars], tuple[tuple[str, ...]]]":
        """As it crosses from one process to another."""
        return type(self), (self.faults,)
