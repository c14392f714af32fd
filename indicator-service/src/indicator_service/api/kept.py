"""Answers that rest on many symbols, kept like those of one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request

from indicator_service.domain.ports import BarSource, Versions
from indicator_service.domain.results import ALL, ResultKey, Results, digest_of

__all__ = ["OfMany", "kept_or_made"]


@dataclass(frozen=True, slots=True)
class OfMany:
    """An answer of `symbols` (None: of all) of an interval. `fields` is every field of the request as it was resolved, and
    whatever of the caller it depends on; `closed`: no bar that may still change is asked for; `guess`: whether it is costly,
    before that was measured."""

    name: str
    fields: str
    symbols: Sequence[str] | None
    interval: str
    closed: bool
    guess: bool


async def kept_or_made(
    request: Request, source: BarSource, asked: OfMany, make: Callable[[], Awaitable[tuple[bytes, Versions]]]
) -> bytes:
    """`make` says on which versions its answer rests: it is kept only if they are still those it was looked for under."""
    results: Results = request.app.state.results
    work = (asked.name, digest_of(asked.fields))
    now = used = Versions({}, {})
    if results.is_costly(work, guess=asked.guess):
        now = (await source.versions(asked.interval)).of(asked.symbols)

    async def made() -> bytes:
        nonlocal used
        answer, used = await make()
        return answer

    return await results.answer(
        lambda: ResultKey(ALL, asked.name, asked.fields, now.version),
        work,
        results.ttl.of("", forming=not asked.closed),
        made,
        guess=asked.guess,
        holds=lambda: used == now,
    )
