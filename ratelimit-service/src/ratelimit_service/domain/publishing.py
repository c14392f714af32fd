"""The plan file as administrators change it: tried, published, read back, restored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit_service.domain.control import InForce
from ratelimit_service.domain.errors import InForceAlready, NoVersion, PlansMoved, UnfitPlans
from ratelimit_service.domain.model import Document, Origin, PlanVersion
from ratelimit_service.domain.ports import Database
from ratelimit_service.domain.versions import Draft, Recorder, add_version, differences, digest_of
from shared.limits.plans import PlanBook, PlanFileError, parse_plans

__all__ = ["Publishing", "Trial"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a text would change of what is in force, by the place of each rule."""

    rules: str
    before: Document
    after: Document


class Publishing:
    """`changed` is set after each commit. All but `try_out` raise Unavailable while Postgres is away."""

    def __init__(self, database: Database, in_force: InForce, recorder: Recorder, changed: asyncio.Event) -> None:
        self._database = database
        self._in_force = in_force
        self._recorder = recorder
        self._changed = changed

    async def try_out(self, text: str) -> Trial:
        """UnfitPlans, naming every bad rule."""
        book = await _read(text)
        before, after = differences(self._in_force.book, book)
        return Trial(digest_of(book), before or {}, after)

    async def newest(self) -> PlanVersion | None:
        async with self._database.begin() as rows:
            return await rows.newest_version()

    async def version(self, number: int) -> PlanVersion:
        async with self._database.begin() as rows:
            return _there(await rows.version(number), number)

    async def history(self, *, before: int | None, limit: int) -> Sequence[PlanVersion]:
        async with self._database.begin() as rows:
            return await rows.versions(before=before, limit=limit)

    async def publish(self, text: str, *, replaces: int, reason: str, origin: Origin) -> PlanVersion:
        """UnfitPlans; PlansMoved when `replaces` is not the newest version."""
        return await self._add(Draft(text, await _read(text), "published", reason), replaces, origin)

    async def restore(self, number: int, *, replaces: int, reason: str, origin: Origin) -> PlanVersion:
        """An older text as a new version. NoVersion; InForceAlready; UnfitPlans for one that this release does not take any more;
        PlansMoved."""
        old = await self.version(number)
        if number == replaces:
            raise InForceAlready(number)
        return await self._add(Draft(old.text, await _read(old.text), "restored", reason, restores=number), replaces, origin)

    async def _add(self, draft: Draft, replaces: int, origin: Origin) -> PlanVersion:
        async with self._database.begin() as rows:
            await rows.lock()
            newest = await rows.newest_version()
            number = newest.number if newest is not None else 0
            if number != replaces:
                raise PlansMoved(replaces, number)
            version = await add_version(rows, newest, draft, origin, self._recorder)
        self._changed.set()
        return version


async def _read(text: str) -> PlanBook:
    try:
        # the longest take a second
        return await asyncio.to_thread(parse_plans, text)
    except PlanFileError as error:
        raise UnfitPlans(error) from None


def _there(version: PlanVersion | None, number: int) -> PlanVersion:
    if version is None:
        raise NoVersion(number)
    return version
