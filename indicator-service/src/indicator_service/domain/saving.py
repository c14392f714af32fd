"""Saving, changing and finding users' own indicators."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from indicator_service.domain.custom import CustomIndicator, Draft, Version
from indicator_service.domain.errors import NoSuchCustomIndicator, TooManyCustomIndicators
from indicator_service.domain.ports import CustomIndicatorRows, CustomIndicatorStore
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["MOST_INDICATORS", "MOST_VERSIONS", "CustomIndicators"]

MOST_INDICATORS = 100
"""Of one user."""

MOST_VERSIONS = 50
"""That are kept of one indicator: the newest."""


class CustomIndicators:
    """One owner sees, changes and uses nobody else's. Who may have any at all is not asked here."""

    def __init__(self, store: CustomIndicatorStore, *, clock: Clock, new_id: IdFactory) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    async def create(self, owner: UUID, name: str, draft: Draft) -> CustomIndicator:
        """NameTaken, TooManyCustomIndicators."""
        now = self._clock()
        version = Version(1, draft.expression, draft.parameters, now)
        indicator = CustomIndicator(self._new_id(), owner, name, draft.description, now, now, version)
        async with self._store.transaction() as rows:
            await rows.lock(owner)
            if await rows.count(owner) >= MOST_INDICATORS:
                raise TooManyCustomIndicators(MOST_INDICATORS)
            await rows.add(indicator)
        return indicator

    async def change(self, owner: UUID, name: str, draft: Draft) -> CustomIndicator:
        """A new version, in force as soon as this returns; of more than `MOST_VERSIONS` the oldest is forgotten."""
        now = self._clock()
        async with self._store.transaction() as rows:
            await rows.lock(owner)
            before = await _existing(rows, owner, name)
            version = Version(before.version.number + 1, draft.expression, draft.parameters, now)
            after = replace(before, description=draft.description, updated_at=now, version=version)
            await rows.change(after, oldest=version.number - MOST_VERSIONS + 1)
        return after

    async def delete(self, owner: UUID, name: str) -> None:
        async with self._store.transaction() as rows:
            await rows.lock(owner)  # a change under way is of one that is there until it is done
            if not await rows.delete(owner, name):
                raise NoSuchCustomIndicator(name)

    async def get(self, owner: UUID, name: str, number: int | None = None) -> tuple[CustomIndicator, Sequence[Version]]:
        """With that version, else the newest; and all versions that are kept, newest first."""
        async with self._store.transaction() as rows:
            newest = await _existing(rows, owner, name)
            versions = await rows.versions(newest.id)
        if number is None:
            return newest, versions
        for version in versions:
            if version.number == number:
                return replace(newest, version=version), versions
        raise NoSuchCustomIndicator(name, number)

    async def page(self, owner: UUID, *, after: str | None = None, limit: int = MOST_INDICATORS) -> Sequence[CustomIndicator]:
        """By name; those whose names come after `after`."""
        async with self._store.transaction() as rows:
            return await rows.page(owner, after=after, limit=limit)

    async def named(self, owner: UUID, names: Sequence[str]) -> Sequence[CustomIndicator]:
        """Those of the names that there are, as they are now: asked of the store each time, so a change counts at once on every
        instance."""
        async with self._store.transaction() as rows:
            return await rows.named(owner, names)


async def _existing(rows: CustomIndicatorRows, owner: UUID, name: str) -> CustomIndicator:
    if not (found := await rows.named(owner, [name])):
        raise NoSuchCustomIndicator(name)
    return found[0]
