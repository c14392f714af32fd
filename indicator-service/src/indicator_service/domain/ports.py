"""What the computation needs of the world, and what keeps users' own indicators."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Protocol
from uuid import UUID

from indicator_service.domain.custom import CustomIndicator, Version
from indicator_service.domain.results import version_of_many
from indicator_service.domain.series import Bars

__all__ = ["BarSource", "CustomIndicatorRows", "CustomIndicatorStore", "ManyBars", "Versions"]


@dataclass(frozen=True, slots=True)
class ManyBars:
    """Bars by symbol, and of the symbols that have none the reason."""

    found: Mapping[str, Bars]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Versions:
    """Data versions by symbol, and of the symbols that have no bars of the interval the reason."""

    known: Mapping[str, str]
    missing: Mapping[str, str]

    @cached_property
    def version(self) -> str:
        """Of them all."""
        return version_of_many(self.known, self.missing)

    def of(self, symbols: Sequence[str] | None) -> "Versions":
        """Of these alone; None: of all."""
        if symbols is None:
            return self
        known = {name: self.known[name] for name in symbols if name in self.known}
        return Versions(known, {name: self.missing.get(name, "unknown") for name in symbols if name not in known})


class BarSource(Protocol):
    """Bars are never older than what data-service has when asked. `as_of`: as if there were none after that day yet."""

    async def bars(self, symbol: str, interval: str, adjustment: str, as_of: date | None = None) -> Bars:
        """The symbol's whole history.

        Raises NotFound for an unknown symbol, InvalidInput for an interval that is not stored, Unavailable when nobody answers.
        """
        ...

    async def versions(self, interval: str) -> Versions:
        """Of all symbols, as data-service has them now. Raises Unavailable."""
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


class CustomIndicatorRows(Protocol):
    """All in one transaction."""

    async def lock(self, owner: UUID) -> None:
        """Nobody else adds or changes one of this owner's until the transaction ends."""

    async def count(self, owner: UUID) -> int: ...

    async def add(self, indicator: CustomIndicator) -> None:
        """NameTaken when the owner has one of that name."""

    async def change(self, indicator: CustomIndicator, *, oldest: int) -> None:
        """Writes its description and its version, which is new; versions before `oldest` are forgotten."""

    async def delete(self, owner: UUID, name: str) -> bool:
        """False when there is none of that name."""

    async def named(self, owner: UUID, names: Sequence[str]) -> Sequence[CustomIndicator]:
        """Those there are, with their newest versions, by name."""
        ...

    async def page(self, owner: UUID, *, after: str | None, limit: int) -> Sequence[CustomIndicator]:
        """By name, with their newest versions; those whose names come after `after`."""
        ...

    async def versions(self, indicator_id: UUID) -> Sequence[Version]:
        """Newest first."""
        ...


class CustomIndicatorStore(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[CustomIndicatorRows]:
        """Commits at the end, rolls back when the body raises; Unavailable when the store does not answer."""
        ...
