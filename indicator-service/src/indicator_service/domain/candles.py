"""A client's own bars: JSON as it was sent, to columns that TA-Lib may be given. Whatever is unfit is named by bar and column."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.parameters import checked
from indicator_service.domain.request import IndicatorRequest, Parameters, Wanted, parse_parameters
from indicator_service.domain.series import Bars, Floats
from shared.errors import InvalidInput
from shared.paging import Order

__all__ = ["MOST_BARS", "PRICES", "SentBars", "bars_of", "json_of", "parse_candles"]

MOST_BARS = 50_000
PRICES = ("open", "high", "low", "close")
_COLUMNS = (*PRICES, "volume")
_FIRST = np.datetime64("0001-01-01")
_DAYS = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}\n)+")
_KNOWN = {"date", *_COLUMNS}
_UNKNOWN = f"no such column; there are date, {', '.join(_COLUMNS)}"


@dataclass(frozen=True, eq=False)
class SentBars(Bars):
    """`sent` are the dates as they will be shown, in the client's own offset."""

    sent: Sequence[str]

    def _texts(self, rows: slice) -> list[str]:
        return list(self.sent[rows])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bars: Any
    parameters: dict[str, Any] = Field(default_factory=dict)
    order: Order = "asc"
    include_ohlc: bool = False


def parse_candles(indicator: Indicator, sent: bytes, functions: Functions = FUNCTIONS_BY_NAME) -> tuple[IndicatorRequest, Bars]:
    """Raises InvalidInput."""
    body = checked(_Body, json_of(sent), ("body",))
    parameters = parse_parameters(indicator, body.parameters, "body", "parameters", functions=functions)
    request = IndicatorRequest(parameters, Wanted(order=body.order, include_ohlc=body.include_ohlc))
    return request, bars_of(body.bars, _needed(parameters, include_ohlc=body.include_ohlc), indicator.name)


def json_of(sent: bytes) -> Any:
    """Raises InvalidInput."""
    try:
        return orjson.loads(sent)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.field("body", msg=f"not JSON: {error}", type_="json_invalid") from None


def _needed(parameters: Parameters, *, include_ohlc: bool) -> set[str]:
    return parameters.columns | set(PRICES if include_ohlc else ())


def bars_of(sent: Any, needed: AbstractSet[str], what: str) -> SentBars:
    """From JSON. `what` needs the columns `needed`; the others are NaN where they were not sent. Raises InvalidInput."""
    table = _Table.of(sent)
    dates, shown = table.dates()
    for name in sorted(needed - table.columns.keys()):
        raise InvalidInput.field("body", "bars", name, msg=f"{what} needs it", type_="missing")
    columns: dict[str, Any] = {
        name: table.numbers(name) if name in table.columns else np.full(len(dates), np.nan) for name in _COLUMNS
    }
    return SentBars(symbol="", data_version="", date=dates, sent=shown, **columns)


class _Table:
    """Columns of one length, and where a fault in them stands in what was sent: rows of objects, or an object of columns."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], *, by_row: bool) -> None:
        self.columns = columns
        self._by_row = by_row

    @classmethod
    def of(cls, sent: Any) -> "_Table":
        table = cls._of_rows(sent) if isinstance(sent, list) else cls._of_columns(sent)
        if "date" not in table.columns:
            raise InvalidInput.field("body", "bars", "date", msg="every bar has a date", type_="missing")
        if not table.columns["date"]:
            raise _unfit("no bars", "too_short")
        if len(table.columns["date"]) > MOST_BARS:
            raise _unfit(f"more than {MOST_BARS} bars", "too_long")
        return table

    @classmethod
    def _of_rows(cls, rows: list[Any]) -> "_Table":
        if not rows:
            raise _unfit("no bars", "too_short")
        if len(rows) > MOST_BARS:
            raise _unfit(f"more than {MOST_BARS} bars", "too_long")
        names = rows[0].keys() if isinstance(rows[0], dict) else set()
        alike = set(map(type, rows)) <= {dict} and set(map(len, rows)) <= {len(names)} and names <= _KNOWN
        try:
            if alike:
                return cls({name: list(map(itemgetter(name), rows)) for name in names}, by_row=True)
        except KeyError:
            pass
        raise cls._unlike(rows)

    @classmethod
    def _unlike(cls, rows: list[Any]) -> InvalidInput:
        """Of rows that are not objects with the same known names: the first fault."""
        names: set[str] = set()
        for row in rows:
            names |= row.keys() & _KNOWN if isinstance(row, dict) else set()
        for at, row in enumerate(rows):
            if not isinstance(row, dict):
                return InvalidInput.field("body", "bars", at, msg="not an object", type_="dict_type")
            for name in row.keys() - _KNOWN:
                return InvalidInput.field("body", "bars", at, name[:64], msg=_UNKNOWN, type_="extra_forbidden")
            for name in sorted(names - row.keys()):
                return InvalidInput.field("body", "bars", at, name, msg="missing, though other bars have it", type_="missing")
        raise AssertionError("every row has the same known names")

    @classmethod
    def _of_columns(cls, columns: Any) -> "_Table":
        if not isinstance(columns, dict):
            raise InvalidInput.field("body", "bars", msg="neither bars nor columns", type_="list_type")
        for name, column in columns.items():
            if name not in _KNOWN:
                raise InvalidInput.field("body", "bars", name, msg=_UNKNOWN, type_="extra_forbidden")
            if not isinstance(column, list):
                raise InvalidInput.field("body", "bars", name, msg="not an array", type_="list_type")
        for name, column in columns.items():
            if "date" in columns and len(column) != len(columns["date"]):
                raise InvalidInput.field("body", "bars", name, msg="not as long as date", type_="value_error")
        return cls(columns, by_row=False)

    def fault(self, name: str, at: int, msg: str, type_: str = "value_error") -> InvalidInput:
        return InvalidInput.field("body", "bars", *((at, name) if self._by_row else (name, at)), msg=msg, type_=type_)

    def numbers(self, name: str) -> Floats:
        values = self.columns[name]
        if not set(map(type, values)) <= {int, float}:
            at = next(at for at, value in enumerate(values) if type(value) not in {int, float})
            raise self.fault(name, at, "not a number", "float_type")
        column = np.array(values, dtype=np.float64)
        # NaN is not above anything
        fit = np.isfinite(column) & (column > 0 if name in PRICES else column >= 0)
        if not fit.all():
            at = int(fit.argmin())
            raise self.fault(name, at, "negative" if column[at] < 0 else "not finite" if column[at] else "a price is above 0")
        return column

    def dates(self) -> tuple[npt.NDArray[np.datetime64], Sequence[str]]:
        """Days, or seconds in UTC, ascending; and how each is shown."""
        sent = self.columns["date"]
        if set(map(type, sent)) != {str}:
            at = next(at for at, text in enumerate(sent) if not isinstance(text, str))
            raise self.fault("date", at, "not a date", "date_type")
        # as the first is, so are the others to be
        dates, shown = self._days(sent) if len(sent[0]) == len("2013-01-02") else self._moments(sent)
        later = dates[1:] > dates[:-1]
        if not later.all():
            raise self.fault("date", int(later.argmin()) + 1, "not after the one before")
        return dates, shown

    def _days(self, sent: Sequence[str]) -> tuple[npt.NDArray[np.datetime64], Sequence[str]]:
        # numpy reads much more than days, so only what it would write is one
        if _DAYS.fullmatch("\n".join((*sent, ""))):
            try:
                dates = np.array(sent, dtype="datetime64[D]")
            except ValueError:
                pass  # as the thirtieth of February
            else:
                if dates.min() >= _FIRST:
                    return dates, sent
        at = next(at for at, text in enumerate(sent) if not _is_day(text))
        raise self.fault("date", at, "not a date (2013-01-02)", "date_parsing")

    def _moments(self, sent: Sequence[str]) -> tuple[npt.NDArray[np.datetime64], Sequence[str]]:
        moments = []
        for at, text in enumerate(sent):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise self.fault("date", at, "not a time (2013-01-02T09:30:00-05:00)", "datetime_parsing") from None
            offset = moment.utcoffset()
            if offset is None or moment.microsecond or offset % timedelta(minutes=1):
                raise self.fault("date", at, "a time has an offset in minutes, and no fractions of a second", "timezone_aware")
            moments.append(moment)
        seconds = np.array([int(moment.timestamp()) for moment in moments], dtype="datetime64[s]")
        return seconds, [moment.isoformat() for moment in moments]


def _unfit(msg: str, type_: str) -> InvalidInput:
    return InvalidInput.field("body", "bars", msg=msg, type_=type_)


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
