"""The plan file's way into force: read, validated, published; again when it changes, and never half of it."""

import hashlib
from typing import Protocol

from shared.limits.plans import PlanBook, PlanFileError, parse_plans
from shared.logging import get_logger

__all__ = ["PlanControl", "PlanFile", "Publisher"]

_log = get_logger("plans")


class PlanFile(Protocol):
    def text(self) -> str:
        """OSError when it cannot be read."""
        ...


class Publisher(Protocol):
    async def publish(self, book: PlanBook, version: str) -> None:
        """Returns once enforcers can read the book and have been told; raises Unavailable when they cannot."""
        ...

    async def is_kept(self) -> bool:
        """Whether the store still has a book."""
        ...


class PlanControl:
    """`book` and `version` are what is in force. The version is a hash of the rules, so comments do not change it."""

    def __init__(self, file: PlanFile, publisher: Publisher) -> None:
        self._file = file
        self._publisher = publisher
        self._seen = self._file.text()
        self.book = parse_plans(self._seen)
        self._published = ""

    @property
    def version(self) -> str:
        return hashlib.sha256(self.book.model_dump_json().encode()).hexdigest()[:16]

    async def publish(self) -> None:
        """Puts the book in force; Unavailable when the store or NATS is away."""
        await self._publisher.publish(self.book, self.version)
        self._published = self.version

    async def look_again(self) -> None:
        """Takes a changed file if it is fit; publishes what is new, or what the store has lost."""
        self._read()
        if self._published != self.version or not await self._publisher.is_kept():
            await self.publish()
            _log.info("plans in force", version=self.version)

    def _read(self) -> None:
        try:
            text = self._file.text()
        except OSError as error:
            _log.error("the plan file cannot be read; the plans in force stay", error=type(error).__name__)
            return
        if text == self._seen:
            return
        self._seen = text
        try:
            self.book = parse_plans(text)
        except PlanFileError as error:
            _log.error("the plan file is unfit; the plans in force stay", faults=error.faults)
