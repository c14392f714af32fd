"""Users, tenants and keys made again from the trail, and compared with the tables.

Each event's `after` is laid over what the events before it left; its `before` must be what they left, else something was changed
that the trail does not tell of. Both sides come in the order of their ids, so of neither more than one is held.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from auth_service.domain.auditing import State, as_json

__all__ = ["NOUNS", "Change", "Difference", "differences", "rebuilt"]

NOUNS = ("tenant", "user", "key")
"""What can be rebuilt."""

_UNTOLD = "in the table, and not in the trail"
_GONE = "in the table, and gone by the trail"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Change:
    """An event, as far as it tells of a subject's state."""

    subject: UUID
    event: str
    before: State | None
    after: State | None


@dataclass(frozen=True, slots=True)
class Difference:
    noun: str
    subject: UUID
    words: str


def rebuilt(changes: Sequence[Change]) -> tuple[State | None, list[str]]:
    """The state that one subject's changes lead to, None where it is gone, and what in them does not fit together. Older events
    tell of no state."""
    state: State | None = {}
    faults = []
    for change in changes:
        if change.before is None and change.after is None:
            continue
        known = state or {}
        faults += [
            f"{change.event}: {name} was {value!r} before it, and {known.get(name)!r} after the event before"
            for name, value in _plain(change.before or {}).items()
            if known.get(name) != value
        ]
        kept = known if change.before is not None else {}
        state = {**kept, **_plain(change.after)} if change.after is not None else None
    return state, faults


async def differences(
    noun: str, changes: AsyncIterator[Change], stored: AsyncIterator[tuple[UUID, State]]
) -> AsyncIterator[Difference]:
    """Between the trail and the table; both ordered by subject, the changes of one as they were made."""
    row = await anext(stored, None)
    async for subject, of_one in _by_subject(changes):
        while row is not None and row[0] < subject:
            yield Difference(noun, row[0], _UNTOLD)
            row = await anext(stored, None)
        state, faults = rebuilt(of_one)
        for words in faults:
            yield Difference(noun, subject, words)
        if row is not None and row[0] == subject:
            for words in _compared(state, _plain(row[1])) if state is not None else [_GONE]:
                yield Difference(noun, subject, words)
            row = await anext(stored, None)
        elif state is not None:
            yield Difference(noun, subject, "in the trail, and not in the table")
    while row is not None:
        yield Difference(noun, row[0], _UNTOLD)
        row = await anext(stored, None)


async def _by_subject(changes: AsyncIterator[Change]) -> AsyncIterator[tuple[UUID, list[Change]]]:
    of_one: list[Change] = []
    async for change in changes:
        if of_one and of_one[0].subject != change.subject:
            yield of_one[0].subject, of_one
            of_one = []
        of_one.append(change)
    if of_one:
        yield of_one[0].subject, of_one


def _compared(told: State, stored: State) -> list[str]:
    absent = object()
    return [
        f"{name} is {stored.get(name)!r}, and {told.get(name)!r} by the trail"
        for name in sorted({*told, *stored})
        if told.get(name, absent) != stored.get(name, absent)
    ]


def _plain(state: Mapping[str, Any]) -> State:
    """Times in one form: a database writes them without the zeros at their end."""
    return {name: _moment(value) if isinstance(value, str) else value for name, value in state.items()}


def _moment(text: str) -> str:
    return str(as_json(datetime.fromisoformat(text))) if _TIME.fullmatch(text) else text
