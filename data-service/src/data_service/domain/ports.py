"""What the bars' rules need of the world."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from data_service.domain.bars import Bars

__all__ = ["BarWriter", "Loading", "Snapshot"]

Loading = Literal["memory", "mmap"]
"""`memory`: every page is touched when it is loaded. `mmap`: pages come when they are first read."""


class Snapshot(Protocol):
    """Every symbol's bars at one moment; it never changes."""

    def __contains__(self, symbol: object) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, symbol: str) -> Bars:
        """KeyError for a symbol there are no bars of."""
        ...


class BarWriter(Protocol):
    def commit(self, change: Callable[[Snapshot], Sequence[Bars]]) -> Sequence[Bars]:
        """Runs `change` on the newest bars while no other process may change any, and makes what it returns durable and visible.

        All of it or nothing, also when the process is killed or the disk is full (OSError). What is returned are the bars that
        really changed. It blocks: call it off the event loop. What `change` raises passes through, and nothing is changed.
        """
        ...
