"""Bars of many symbols at once, for other services: `POST /internal/v1/bars`.

The answer is what its reader maps without a copy: 8 bytes, the length of a head as a little-endian integer; the head, JSON; then
the dates, each run of them once, for symbols of one exchange mostly have the same; then each column of all symbols one after the
other in the order that the head tells. All of it 8 bytes a bar: dates are int64, days since 1970, or for bars of less than a day
seconds (UTC); the columns float64, little-endian."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from data_service.domain.adjustment import Adjustment
from data_service.domain.errors import NotServed
from data_service.domain.intervals import Interval
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.store import BarStore
from data_service.domain.symbols import View
from shared.errors import InvalidInput
from shared.subjects import SYMBOL_PATTERN

__all__ = ["ManyQuery", "answer_of", "router"]

_MOST_SYMBOLS = 10_000
_MOST_BYTES = 512 << 20
_WORD = 8

router = APIRouter(prefix="/internal/v1", tags=["internal"])


class ManyQuery(BaseModel):
    """`symbols`: all there are when it is null. `known` are the versions that the caller has: of those no bars are sent again."""

    model_config = ConfigDict(extra="forbid")
    symbols: Annotated[list[Annotated[str, Field(pattern=f"^{SYMBOL_PATTERN}$")]] | None, Field(max_length=_MOST_SYMBOLS)] = None
    interval: Interval = "1day"
    adjustment: Adjustment = "split_dividend"
    as_of: date | None = None
    columns: list[Literal["open", "high", "low", "close", "volume"]] = ["close"]
    known: dict[str, str] = {}


@router.post("/bars", summary="Every bar of many symbols", response_class=Response)
async def many(request: Request, asked: ManyQuery) -> Response:
    """The head has how many `dates` there are, and `symbols`: for each its name, `data_version`, `rows`, where its `first_date`
    is among them, `zone` and the day of its `newest` bar whatever `as_of`; of one whose version is known `rows` is null; one that
    there is not, or not of this interval, is in `missing` with the reason."""
    store: BarStore = request.app.state.store
    body = await asyncio.to_thread(answer_of, store.snapshot(), asked)
    return Response(body, media_type="application/octet-stream")


def answer_of(stored: IndexedSnapshot, asked: ManyQuery) -> bytes:
    views: list[View] = []
    symbols: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    left = _MOST_BYTES
    dates = _Dates()
    for name in stored.symbols if asked.symbols is None else dict.fromkeys(asked.symbols):
        try:
            symbol = stored.of(name)
            newest = symbol.span(asked.interval)[1]
        except KeyError:
            missing[name] = "unknown"
            continue
        except NotServed as error:
            missing[name] = error.detail
            continue
        told: dict[str, Any] = {"symbol": name, "data_version": symbol.data_version, "newest": newest, "rows": None, "zone": None}
        symbols.append(told)
        if asked.known.get(name) == symbol.data_version:
            continue
        view = symbol.view(asked.interval, asked.adjustment, asked.as_of, asked.columns)
        told |= {"rows": len(view.bars), "zone": view.zone, "first_date": dates.place(view.bars.date.view(np.int64))}
        views.append(view)
        left -= view.nbytes
        if left < 0:
            raise InvalidInput.field("body", "symbols", msg=f"more than {_MOST_BYTES:,} bytes of bars: ask for fewer at once")
    head = {"symbols": symbols, "missing": missing, "dates": dates.count, "columns": asked.columns}
    return _packed(head, [*dates.runs, *(getattr(view.bars, name) for name in asked.columns for view in views)])


class _Dates:
    """Runs of dates one after the other, equal ones once."""

    def __init__(self) -> None:
        self.runs: list[npt.NDArray[np.int64]] = []
        self.count = 0
        self._places: dict[tuple[int, int, int], tuple[int, npt.NDArray[np.int64]]] = {}

    def place(self, run: npt.NDArray[np.int64]) -> int:
        """Where it begins."""
        if not len(run):
            return 0
        key = len(run), int(run[0]), int(run[-1])
        place, seen = self._places.get(key, (0, None))
        if seen is None or not (seen == run).all():
            place, _ = self._places[key] = self.count, run
            self.runs.append(run)
            self.count += len(run)
        return place


def _packed(head: dict[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    told = orjson.dumps(head)
    # so that the arrays begin where a number of 8 bytes may
    told += b" " * (-len(told) % _WORD)
    return b"".join([len(told).to_bytes(_WORD, "little"), told, *(np.ascontiguousarray(array).data for array in arrays)])
