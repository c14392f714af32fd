"""Rows that somebody brings: each of their faults is named, or all of them are put over what is stored.

    raw columns ──Upload.add──▶ typed, checked ──Upload.rows──▶ Rows ──merge──▶ Bars ──▶ BarWriter    (merging.py)

Everything is done a column at a time; the only loop is over symbols. Gaps against an exchange's calendar would be one more check
of `Upload.rows`, where the rows of a symbol stand together and in order.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from data_service.domain.bars import PRICES
from shared.errors import InvalidInput
from shared.subjects import SYMBOL_PATTERN

__all__ = [
    "COLUMNS",
    "MISSING",
    "MOST_LISTED",
    "RATIOS",
    "REQUIRED",
    "TWICE",
    "UNKNOWN",
    "Fault",
    "Faults",
    "Rows",
    "UnfitUpload",
    "Upload",
]

_NUMBERS = (*PRICES, "volume", "adj_close")
COLUMNS = ("symbol", "date", *_NUMBERS)
REQUIRED = COLUMNS[:-1]
MOST_LISTED = 10_000

_EARLIEST = date(1600, 1, 1)  # no exchange is older; an earlier date is a year mistyped
_AHEAD = timedelta(hours=14)  # UTC+14 is the first to have a new day: a bar of tomorrow in UTC may be of today there
# what lies outside is no price, and would overflow once it is multiplied by a ratio, itself within these
_LARGEST, _SMALLEST = 1e18, 1e-18
RATIOS = (1e-12, 1e12)

MISSING, UNKNOWN, TWICE = "column missing", "column unknown", "column twice"
_TYPES = {MISSING: "missing", "empty": "missing", UNKNOWN: "extra_forbidden"}


@dataclass(frozen=True, slots=True)
class Fault:
    """`row` is the line in a CSV file (its header is line 1), the row from 1 on in a Parquet file; None: all of the column, or of
    the file when `column` is None too."""

    file: str
    row: int | None
    column: str | None
    reason: str

    @property
    def error(self) -> dict[str, Any]:
        place = [part for part in (self.file, self.row, self.column) if part is not None]
        return {"loc": ["body", "file", *place], "msg": self.reason, "type": _TYPES.get(self.reason, "value_error")}


@dataclass(slots=True)
class Faults:
    """All are counted, the first `MOST_LISTED` listed."""

    listed: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, fault: Fault) -> None:
        """A column's or a file's own fault counts once, in however many pieces the file is read."""
        if fault.row is None and fault in self.listed:
            return
        self.count += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(fault)

    def mark(self, file: str, rows: pl.Series, bad: pl.Series, column: str | None, reason: str) -> None:
        """`bad` says for each of `rows`, the rows' numbers, whether it has the fault; null is no."""
        self.count += int(bad.sum())
        listed = rows.filter(bad).head(max(0, MOST_LISTED - len(self.listed)))
        self.listed += [Fault(file, row, column, reason) for row in listed]


class UnfitUpload(InvalidInput):
    """Refused whole; `faults` name file, row, column and reason, `count` says how many there are."""

    def __init__(self, faults: Faults) -> None:
        self.faults = sorted(faults.listed, key=lambda fault: (fault.file, fault.row or 0))
        self.count = faults.count
        more = f"; the first {len(self.faults):,} are listed" if self.count > len(self.faults) else ""
        super().__init__(f"nothing is imported: {self.count:,} faults{more}", [fault.error for fault in self.faults])


@dataclass(frozen=True)
class Rows:
    """Fit rows, by symbol and date; `adj_close` is null where it was not given. `file` is a position in `files`."""

    frame: pl.DataFrame
    files: tuple[str, ...]

    def __len__(self) -> int:
        return self.frame.height


class Upload:
    """The rows of one import, added in pieces, in any order. `now` decides what is a future date."""

    def __init__(self, now: datetime) -> None:
        self.faults = Faults()
        self._latest = (now + _AHEAD).date()
        self._files: list[str] = []
        self._parts: list[pl.DataFrame] = []

    def add(self, file: str, raw: pl.DataFrame) -> None:
        """`raw` has `row`, the rows' numbers, and columns named as in `COLUMNS`, of text or of whatever a Parquet file has."""
        if file not in self._files:
            self._files.append(file)
        rows = raw["row"]
        part = pl.DataFrame(
            {n: self._typed(file, rows, raw[n]) if n in raw.columns else _nothing(n, raw.height) for n in COLUMNS}
        )
        self._check(file, rows, part)
        place = pl.lit(self._files.index(file), pl.UInt32)
        self._parts.append(part.with_columns(rows.cast(pl.UInt32), file=place))

    def rows(self) -> Rows:
        """`UnfitUpload` for any fault of any piece, or when a symbol has two rows of one date."""
        whole = pl.concat(self._parts) if self._parts else pl.DataFrame(schema=_SCHEMA)
        self._parts = []
        whole = whole.drop_nulls(["symbol", "date"]).sort("symbol", "date", "file", "row")
        again = whole.with_columns(was_file=pl.col("file").shift(), was_row=pl.col("row").shift()).filter(
            pl.col("symbol").eq(pl.col("symbol").shift()) & pl.col("date").eq(pl.col("date").shift())
        )
        for at, row, was_at, was_row in again.select("file", "row", "was_file", "was_row").head(MOST_LISTED).iter_rows():
            where = "" if at == was_at else f" of {self._files[was_at]}"
            self.faults.add(Fault(self._files[at], row, "date", f"the same symbol and date as row {was_row}{where}"))
        self.faults.count += max(0, again.height - MOST_LISTED)
        if self.faults.count:
            raise UnfitUpload(self.faults)
        return Rows(whole, tuple(self._files))

    def _typed(self, file: str, rows: pl.Series, raw: pl.Series) -> pl.Series:
        """The column as it is stored, null where it has a fault."""
        name = raw.name
        text = raw.str.strip_chars(' \t\r"') if raw.dtype == pl.String else raw
        text = text.set(text == "", None) if text.dtype == pl.String else text
        typed, reason = _KINDS_READ.get(name, _number)(text)
        if typed is None:
            self.faults.add(Fault(file, None, name, f"a column of {raw.dtype}: {reason}"))
            return _nothing(name, len(raw))
        self.faults.mark(file, rows, text.is_null(), name, "empty")
        unread = text.is_not_null() & typed.is_null()
        if unread.any() and text.dtype == pl.String:
            garbled = unread & text.str.contains("\ufffd", literal=True)
            self.faults.mark(file, rows, garbled, name, "not UTF-8")
            unread &= ~garbled
        self.faults.mark(file, rows, unread, name, reason)
        return typed

    def _check(self, file: str, rows: pl.Series, part: pl.DataFrame) -> None:
        """Each value by itself, then against the others of its row that are fit."""

        def mark(bad: pl.Expr, column: str, reason: str) -> None:
            self.faults.mark(file, rows, part.select(bad.alias("bad"))["bad"], column, reason)

        mark(pl.col("date") > self._latest, "date", "in the future")
        mark(pl.col("date") < _EARLIEST, "date", f"before {_EARLIEST.year}")
        for name in _NUMBERS:
            value = pl.col(name)
            mark(~value.is_finite(), name, "not finite")
            mark(value.is_finite() & (value > _LARGEST), name, "too large")
            if name == "volume":
                mark(value.is_finite() & (value < 0), name, "negative")
            else:
                mark(value.is_finite() & (value <= 0), name, "not positive")
                mark((value > 0) & (value < _SMALLEST), name, "too small")
        fit = {name: pl.when(pl.col(name).is_between(_SMALLEST, _LARGEST)).then(pl.col(name)) for name in _NUMBERS}
        # these pass nulls over, so what is fit is compared whatever else is not
        highest, lowest = pl.max_horizontal(fit["open"], fit["close"]), pl.min_horizontal(fit["open"], fit["close"])
        mark(fit["high"] < highest, "high", "below open or close")
        mark(fit["low"] > lowest, "low", "above open or close")
        mark(highest.is_null() & (fit["high"] < fit["low"]), "high", "below low")
        mark(~(fit["adj_close"] / fit["close"]).is_between(*RATIOS), "adj_close", "out of proportion to close")


def _nothing(name: str, length: int) -> pl.Series:
    return pl.Series(name, [None], dtype=_KINDS.get(name, pl.Float64)).new_from_index(0, length)


_Typed = tuple[pl.Series | None, str]


def _number(raw: pl.Series) -> _Typed:
    """Also from Decimal and the integers of any width; a number too large for float64 becomes infinite, which is then refused."""
    reason = "not a number"
    known = raw.dtype.is_numeric() or raw.dtype in {pl.String, pl.Null}
    return (raw.cast(pl.Float64, strict=False), reason) if known else (None, reason)


def _date(raw: pl.Series) -> _Typed:
    """A date, or midnight of it, whatever its zone."""
    reason = "not a date (YYYY-MM-DD)"
    if raw.dtype == pl.String:
        days = raw.str.to_date("%Y-%m-%d", strict=False)
        if days.null_count() > raw.null_count():
            bare = raw.str.replace(r"[T ]00:00(:00(\.0+)?)?(Z|[+-]\d\d:?\d\d)?$", "")
            days = days.fill_null(bare.str.to_date("%Y-%m-%d", strict=False))
        return days, reason
    if isinstance(raw.dtype, pl.Datetime):
        local = raw.dt.replace_time_zone(None)
        return local.cast(pl.Date).set(
            local.dt.time() != datetime.min.time(), None
        ), "not midnight: daily bars alone are imported"
    return (raw.cast(pl.Date), reason) if raw.dtype in {pl.Date, pl.Null} else (None, reason)


def _symbol(raw: pl.Series) -> _Typed:
    reason = "not a symbol (letters, digits and . _ -, at most 32)"
    if not isinstance(raw.dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        return None, reason
    text = raw.cast(pl.String)
    upper = text.str.to_uppercase()
    # ASCII alone: the capitals of some letters beyond it are within it (ß, ſ)
    plain = text.str.len_bytes() == text.str.len_chars()
    return upper.set(~(plain & upper.str.contains(f"^(?:{SYMBOL_PATTERN})$")), None), reason


_KINDS: dict[str, type[pl.DataType]] = {"symbol": pl.String, "date": pl.Date}
_KINDS_READ = {"symbol": _symbol, "date": _date}
_SCHEMA: dict[str, type[pl.DataType]] = {
    **{name: _KINDS.get(name, pl.Float64) for name in COLUMNS},
    "row": pl.UInt32,
    "file": pl.UInt32,
}
