"""What the bars' rules need of the world."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from data_service.domain.bars import Bars
from data_service.domain.symbols import SymbolBars

__all__ = ["BarWriter", "IndexedSnapshot", "Loading", "Snapshot"]

Loading = Literal["memory", "mmap"]
"""`memory`: every page is touched when it is loaded. `mmap`: pages come when they are first read."""


class Snapshot(Protocol):
    """All bars by their keys, at one moment; it never changes. A symbol is the key of its daily bars."""

    def __contains__(self, key: object) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: str) -> Bars:
        """KeyError for a key there are no bars of."""
        ...


class IndexedSnapshot(Snapshot, Protocol):
    """As readers ask for it."""

    @property
    def symbols(self) -> Sequence[str]:
        """In order."""
        ...

    def of(self, symbol: str) -> SymbolBars:
        """KeyError for a symbol there are no bars of."""
        ...

    def after(self, changed: Sequence[Bars]) -> SymbolBars:
        """What a symbol would be with these of its bars."""
        ...


class BarWriter(Protocol):
    def snapshot(self) -> IndexedSnapshot:
        """The newest bars."""
        ...

    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> Sequence[Bars]:
        """Runs `change` on the newest bars while no other process may change any, and makes what it returns durable and visible.

        All of it or nothing, also when the process is killed or the disk is full (OSError). What is returned are the bars that
        really changed. It blocks: call it off the event loop. What `change` raises passes through, and nothing is changed.
        """
        ...
