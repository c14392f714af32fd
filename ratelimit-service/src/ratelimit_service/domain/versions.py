"""What a version of the plan file says, and how one follows another."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ratelimit_service.domain.model import Change, Document, Noun, Origin, PlanVersion, Source
from ratelimit_service.domain.ports import Rows
from shared.clock import Clock
from shared.ids import IdFactory
from shared.limits.plans import PlanBook, PlanFileError, parse_plans

__all__ = ["Draft", "Recorder", "add_version", "differences", "digest_of"]

_OURS = {"version", "revision", "overrides"}
_EVENTS: dict[Source, str] = {"shipped": "taken", "file": "taken", "published": "published", "restored": "restored"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A fit text, and the book it says."""

    text: str
    book: PlanBook
    source: Source
    reason: str
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class Recorder:
    """Makes the rows that say who changed what."""

    clock: Clock
    new_id: IdFactory

    def change(
        self,
        origin: Origin,
        noun: Noun,
        event: str,
        subject: str,
        *,
        reason: str,
        before: Document | None = None,
        after: Document | None = None,
    ) -> Change:
        by = (origin.actor, origin.request_id, origin.client_ip)
        return Change(self.new_id(), self.clock(), noun, event, subject, *by, reason, before, after)


def digest_of(book: PlanBook) -> str:
    """Of the rules, so that a comment changes nothing. A rule that is not given is not in it: a later release, which has more of
    them, finds the same."""
    said = book.model_dump_json(exclude_unset=True, exclude=_OURS)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def differences(old: PlanBook | None, new: PlanBook) -> tuple[Document | None, Document]:
    """What of each is not in the other, by the place of each rule; without an old one all of the new."""
    before, after = (dict(_placed(book)) if book is not None else {} for book in (old, new))
    gone = {place: rule for place, rule in before.items() if place not in after or after[place] != rule}
    come = {place: rule for place, rule in after.items() if place not in before or before[place] != rule}
    return (gone if old is not None else None), come


async def add_version(rows: Rows, newest: PlanVersion | None, draft: Draft, origin: Origin, recorder: Recorder) -> PlanVersion:
    """The one after `newest`, in a transaction that holds the lock."""
    number = newest.number + 1 if newest is not None else 1
    before, after = differences(_book_of(newest), draft.book)
    change = recorder.change(origin, "plan", _EVENTS[draft.source], str(number), reason=draft.reason, before=before, after=after)
    version = PlanVersion(number, draft.source, draft.restores, draft.text, digest_of(draft.book), await rows.add_change(change))
    await rows.add_version(version)
    return version


def _book_of(version: PlanVersion | None) -> PlanBook | None:
    try:
        return parse_plans(version.text) if version is not None else None
    except PlanFileError:  # of another release
        return None


def _placed(book: PlanBook) -> Iterator[tuple[str, Any]]:
    yield "tiers", list(book.tiers)  # their order is a rule
    yield from _leaves("", book.model_dump(mode="json", exclude_unset=True, exclude=_OURS))


def _leaves(at: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(f"{at}.{name}" if at else name, part)
    else:
        yield at, value
