"""What data-service sends as bars, read: one symbol as an Arrow stream, many as columns that are used where they lie."""

import io
from collections.abc import Mapping
from datetime import date
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl

from indicator_service.domain.series import COLUMNS, Bars

__all__ = ["Sent", "many_of", "one_of"]

_WORD = 8
_ABSENT = np.empty(0)


class Sent:
    """The answer for many symbols: `bars` of those whose version was not known, the names of those whose version still holds,
    and of those that have none the reason."""

    def __init__(self, head: Mapping[str, Any], bars: Mapping[str, Bars], nbytes: int) -> None:
        self.bars = bars
        self.unchanged = [told["symbol"] for told in head["symbols"] if told["rows"] is None]
        self.missing: Mapping[str, str] = head["missing"]
        # who has every column may be asked for the dates as text, too
        self.nbytes = nbytes + sum(90 * len(one) for one in bars.values() if one.has(COLUMNS))


def many_of(content: bytes) -> Sent:
    """See data-service's `POST /internal/v1/bars`. Symbols with the same dates share them."""
    length = int.from_bytes(content[:_WORD], "little")
    head = orjson.loads(content[_WORD : _WORD + length])
    numbers = np.frombuffer(content, np.int64, offset=_WORD + length)
    dates, days, moments = head["dates"], numbers.view("datetime64[D]"), numbers.view("datetime64[s]")
    # split, not reshaped: there may be no column at all
    blocks = np.split(numbers[dates:].view(np.float64), len(head["columns"])) if head["columns"] else []
    columns = dict(zip(head["columns"], blocks, strict=True))
    bars: dict[str, Bars] = {}
    first = 0
    for told in head["symbols"]:
        if told["rows"] is None:
            continue
        begin, end = told["first_date"], told["first_date"] + told["rows"]
        rows = slice(first, first + told["rows"])
        first = rows.stop
        bars[told["symbol"]] = Bars(
            symbol=told["symbol"],
            data_version=told["data_version"],
            date=(days if told["zone"] is None else moments)[begin:end],
            zone=told["zone"],
            newest=date.fromisoformat(told["newest"]),
            **{name: columns[name][rows] if name in columns else _ABSENT for name in COLUMNS},
        )
    return Sent(head, bars, len(content))


def one_of(symbol: str, response: httpx.Response) -> Bars:
    frame = pl.read_ipc_stream(io.BytesIO(response.content))
    columns = {name: np.ascontiguousarray(frame[name].to_numpy(), dtype=np.float64) for name in COLUMNS}
    dtype = frame.schema["date"]
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return Bars(
        symbol=symbol,
        data_version=response.headers["etag"].strip('"'),
        date=frame["date"].to_numpy().astype("datetime64[D]" if zone is None else "datetime64[s]"),
        zone=zone,
        newest=date.fromisoformat(response.headers["x-kalpi-newest"]),
        **columns,
    )
