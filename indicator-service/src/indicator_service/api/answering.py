"""What the routes of indicators, expressions and patterns do alike: each part of an answer where it keeps nobody else waiting."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from fastapi import Request, Response

from indicator_service.domain.answer import Scope
from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.engine import LONG_NS
from indicator_service.domain.indicator import Functions
from indicator_service.domain.outputs import Outputs
from indicator_service.domain.series import Bars
from shared.errors import Unavailable
from shared.formats import MEDIA_TYPES, Format, render, table_of
from shared.limits.history import HistoryWindow

__all__ = ["ALL_OF_IT", "Lanes", "answer_of", "aside", "computed", "is_long_to_read", "is_long_to_write", "written"]

ALL_OF_IT = HistoryWindow(None, None, clamped=False)
"""The window on a client's own bars."""

_BIG_BODY = 1 << 18
_MANY_ROWS = 10_000
"""From here on writing them takes milliseconds."""

_PATIENCE_S = 2.0
"""As long as the gateway waits for an answer."""

_T = TypeVar("_T")


class Lanes:
    """Threads for what computes long, as many as there are processors: those that read and write bodies are others, so that few
    who compute do not keep all the others from being answered."""

    def __init__(self, count: int = os.cpu_count() or 1) -> None:
        self._threads = ThreadPoolExecutor(count, "lane")
        self._free = asyncio.Semaphore(count)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def run(self, call: Callable[[], _T]) -> _T:
        """Unavailable where none is free soon. One is taken until the call ends, also when nobody waits for it any more."""
        try:
            await asyncio.wait_for(self._free.acquire(), _PATIENCE_S)
        except TimeoutError:
            raise Unavailable("others of its size are being computed", 1) from None
        loop = asyncio.get_running_loop()
        running = self._threads.submit(call)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        return await asyncio.wrap_future(running)


async def aside(call: Callable[[], _T], *, when: bool) -> _T:
    """On a thread where it takes milliseconds, else at once, for that is less than handing it over."""
    return await asyncio.to_thread(call) if when else call()


def is_long_to_read(body: bytes, functions: Functions) -> bool:
    """What calls a user's own has those compiled and written out in it."""
    return len(body) > _BIG_BODY or functions is not FUNCTIONS_BY_NAME


def is_long_to_write(rows: int) -> bool:
    return rows > _MANY_ROWS


async def computed(request: Request, cost: float, bars: Bars, compute: Callable[[Bars], Outputs]) -> Outputs:
    """`cost` in nanoseconds a bar. On the event loop where it is a few microseconds; TA-Lib lets go of the interpreter, so that
    beside a thread others are answered."""
    if cost * len(bars) <= LONG_NS:
        return compute(bars)
    lanes: Lanes = request.app.state.lanes
    return await lanes.run(lambda: compute(bars))


async def written(scope: Scope, outputs: Outputs, form: Format) -> bytes:
    def write() -> bytes:
        return scope.document(outputs) if form == "json" else render(table_of(scope.columns(outputs)), form)

    return await aside(write, when=is_long_to_write(scope.page.end - scope.page.first))


async def answer_of(scope: Scope, outputs: Outputs, form: Format, beside: Mapping[str, str] | None = None) -> Response:
    """`beside`: what the document has and headers have to say in the other formats, more than those of the scope."""
    body = await written(scope, outputs, form)
    headers = {} if form == "json" else {**scope.headers(), **(beside or {})}
    return Response(body, headers=headers, media_type=MEDIA_TYPES[form])
