"""What is to be in force comes into force: the newest version of the plan file, with the overrides of tenants.

Postgres holds the truth, and the row of a change is its outbox: every second the book that enforcers can read, and the one they
were told of, are compared with the newest change, and made to be that one. So a process that is killed between a change and its
publication has lost nothing, and neither has a store that was emptied.

The operator's file is a way to publish like any other: when it changes, what it says becomes the newest version. The one that
ships is the first version, and another release's only follows on that.
"""

from typing import Protocol

from ratelimit_service.domain.model import OURSELVES, PlanVersion
from ratelimit_service.domain.ports import Books, Database, PlanFile, Rows, StoreState
from ratelimit_service.domain.versions import Draft, Recorder, add_version, digest_of
from shared.errors import Unavailable
from shared.limits.plans import MOST_OVERRIDES, PlanBook, PlanFileError, parse_plans
from shared.logging import get_logger

__all__ = ["InForce", "PlanControl"]

_log = get_logger("plans")


class InForce(Protocol):
    @property
    def book(self) -> PlanBook:
        """Unavailable until one is known."""
        ...


class PlanControl:
    """One of each process, and any number of processes."""

    def __init__(
        self,
        file: PlanFile,
        database: Database,
        books: Books,
        in_force: InForce,
        recorder: Recorder,
    ) -> None:
        """PlanFileError, OSError or ValueError when the file is not fit to begin with."""
        self._file = file
        self._database = database
        self._books = books
        self._in_force = in_force
        self._recorder = recorder
        self._text = file.text()
        self._draft = self._drafted()
        self._is_news = True
        self._unreadable = ""

    async def look(self) -> None:
        """Takes what is new in the file, and puts in force what is to be. Unavailable when something is away; without Postgres
        what is in force is kept so all the same."""
        self._read_file()
        state = await self._books.state()  # before what Postgres says: see `Books.write`
        try:
            async with self._database.begin() as rows:
                revision = await self._taken(rows)
                book = await self._book(rows, revision) if revision != state.written else None
            self._is_news = False
        except Unavailable:
            await self._keep(state)
            raise
        if book is not None:
            if not await self._books.write(book, revision, over=state.written):
                return  # another process has, and of what is at least as new
        elif revision != state.written:
            return
        if revision != state.told:
            await self._books.tell(revision)
            _log.info("plans in force", revision=revision)

    def _read_file(self) -> None:
        try:
            text = self._file.text()
        except (OSError, ValueError) as error:
            _log.error("the plan file cannot be read; the plans in force stay", error=type(error).__name__)
            return
        if text == self._text:
            return
        self._text = text
        try:
            self._draft = self._drafted()
            self._is_news = True
        except PlanFileError as error:
            _log.error("the plan file is unfit; the plans in force stay", faults=error.faults)

    def _drafted(self) -> Draft:
        return Draft(self._text, parse_plans(self._text), self._file.source, reason="the plan file")

    async def _taken(self, rows: Rows) -> str:
        """The revision that is to be in force, once what the file says anew is a version."""
        revision = await rows.revision()
        if self._is_news or revision is None:
            await rows.lock()
            newest = await rows.newest_version()
            if await self._is_another(rows, newest):
                version = await add_version(rows, newest, self._draft, OURSELVES, self._recorder)
                _log.info("the plan file is a new version", version=version.number)
                return str(version.change.id)
            revision = await rows.revision()
        return revision or ""

    async def _is_another(self, rows: Rows, newest: PlanVersion | None) -> bool:
        """Whether the operator's file says another thing than it last did, whoever published meanwhile; the file that ships only
        follows on another that shipped."""
        if newest is None:
            return True
        before = await rows.newest_of("file") if self._draft.source == "file" else newest
        if before is None or before.source != self._draft.source:
            return before is None
        return before.rules != digest_of(self._draft.book)

    async def _book(self, rows: Rows, revision: str) -> PlanBook | None:
        """None for what this release cannot read."""
        newest = await rows.newest_version()
        now = self._recorder.clock()
        try:
            stored = await rows.overrides(None, now, after=None, limit=MOST_OVERRIDES)
            overrides = {str(one.tenant_id): one.override for one in stored if one.state(now) != "ended"}
            return parse_plans(newest.text).model_copy(update={"overrides": overrides}) if newest is not None else None
        except ValueError:
            if self._unreadable != revision:
                _log.exception("the newest plans cannot be understood; those in force stay")
            self._unreadable = revision
            return None

    async def _keep(self, state: StoreState) -> None:
        """A store that has no book is given the one this process last knew, until Postgres says which it is to be."""
        revision = state.written
        if revision is None:
            try:
                book = self._in_force.book
            except Unavailable:
                book = self._draft.book
            revision = ""
            if not await self._books.write(book, revision, over=None):
                return
        if revision != state.told:
            await self._books.tell(revision)
