"""Rows that somebody brings: each of their faults is named, or all of them are put over what is stored.

    raw columns ──Upload.add──▶ typed, checked ──Upload.rows──▶ placed in time ──merge──▶ Bars ──▶ BarWriter    (merging.py)

Everything is done a column at a time; the only loop is over symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import polars as pl

from data_service.domain.bars import NUMBERS, UNLISTED, Dates, Listing
from data_service.domain.calendars import ALWAYS_OPEN, Calendar
from data_service.domain.intervals import StoredInterval
from data_service.domain.placing import gaps, strays
from data_service.domain.reading import read_date, read_moment, read_number, read_symbol, without_offset
from shared.errors import InvalidInput

__all__ = [
    "ACTIONS",
    "COLUMNS",
    "MISSING",
    "MOST_LISTED",
    "OF_DAYS",
    "RATIOS",
    "REQUIRED",
    "TWICE",
    "UNKNOWN",
    "Fault",
    "Faults",
    "Known",
    "Rows",
    "Terms",
    "UnfitUpload",
    "Upload",
]

ACTIONS = ("split", "dividend")
_NUMBERS = (*NUMBERS, *ACTIONS)
COLUMNS = ("symbol", "date", *_NUMBERS)
REQUIRED = ("symbol", "date", *NUMBERS[:-1])
MOST_LISTED = 10_000

_EARLIEST = date(1600, 1, 1)  # no exchange is older; an earlier date is a year mistyped
_AHEAD = timedelta(hours=14)  # UTC+14 is the first to have a new day: a bar of tomorrow in UTC may be of today there
# what lies outside is no price, and would overflow once it is multiplied by a ratio, itself within these
_LARGEST, _SMALLEST = 1e18, 1e-18
RATIOS = (1e-12, 1e12)
_SPLITS = (1e-4, 1e4)  # new shares for one old; beyond, it is no split but a mistake

MISSING, UNKNOWN, TWICE = "column missing", "column unknown", "column twice"
OF_DAYS = "of daily bars alone: shorter ones are adjusted by these"
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

    def mark_rows(self, files: Sequence[str], rows: pl.DataFrame, column: str, reason: str) -> None:
        """All of `rows`, which have `file`, a position in `files`, and `row`."""
        self.count += rows.height
        for at, row in rows.select("file", "row").head(max(0, MOST_LISTED - len(self.listed))).iter_rows():
            self.listed.append(Fault(files[at], row, column, reason))


class UnfitUpload(InvalidInput):
    """Refused whole; `faults` name file, row, column and reason, `count` says how many there are."""

    def __init__(self, faults: Faults) -> None:
        self.faults = sorted(faults.listed, key=lambda fault: (fault.file, fault.row or 0))
        self.count = faults.count
        more = f"; the first {len(self.faults):,} are listed" if self.count > len(self.faults) else ""
        super().__init__(f"nothing is imported: {self.count:,} faults{more}", [fault.error for fault in self.faults])


@dataclass(frozen=True, slots=True)
class Terms:
    """What is brought: bars of this interval, of symbols listed here, where that is said. `check_calendar` holds them against the
    exchange's sessions: no bar outside, no session missing."""

    interval: StoredInterval = "1day"
    listing: Listing = UNLISTED
    check_calendar: bool = True


DAILY = Terms()


@dataclass(frozen=True)
class Rows:
    """Fit rows, by symbol and date; `adj_close`, `split` and `dividend` are null where they were not given, the last two 0 for
    none. `file` is a position in `files`."""

    frame: pl.DataFrame
    files: tuple[str, ...]
    terms: Terms = DAILY

    def __len__(self) -> int:
        return self.frame.height


class Known(Protocol):
    """What is known of symbols before the import."""

    def calendar(self, symbol: str) -> Calendar | None:
        """Of the exchange it is listed at; None where that is not known."""
        ...

    def days(self, symbol: str, interval: StoredInterval) -> Dates:
        """The days of which there are bars."""
        ...


class Upload:
    """The rows of one import, added in pieces, in any order. `now` decides what is a future date."""

    def __init__(self, now: datetime, known: Known, terms: Terms = DAILY) -> None:
        self.faults = Faults()
        self.terms = terms
        self._known = known
        self._latest = (now + _AHEAD).date()
        self._files: list[str] = []
        self._parts: list[pl.DataFrame] = []
        self._kinds = {"symbol": pl.String(), "date": pl.Date() if terms.interval == "1day" else pl.Datetime("us")}
        self._read = {"symbol": read_symbol, "date": read_date if terms.interval == "1day" else read_moment}

    def add(self, file: str, raw: pl.DataFrame) -> None:
        """`raw` has `row`, the rows' numbers, and columns named as in `COLUMNS`, of text or of whatever a Parquet file has."""
        if file not in self._files:
            self._files.append(file)
        rows = raw["row"]
        part = pl.DataFrame(
            {n: self._typed(file, rows, raw[n]) if n in raw.columns else self._nothing(n, raw.height) for n in COLUMNS}
        )
        self._check(file, rows, part)
        place = pl.lit(self._files.index(file), pl.UInt32)
        local = without_offset(raw["date"]) if "date" in raw.columns else pl.lit(None, pl.Boolean)
        self._parts.append(part.with_columns(rows.cast(pl.UInt32), file=place, local=local))

    def rows(self) -> Rows:
        """`UnfitUpload` for any fault of any piece, for two rows of one symbol and date, or for what is not on its calendar."""
        whole = pl.concat(self._parts) if self._parts else self._empty()
        self._parts = []
        undated = whole.filter(pl.col("symbol").is_null() | pl.col("date").is_null())["symbol"].unique()
        whole = whole.drop_nulls(["symbol", "date"])
        if self.terms.interval != "1day":
            whole = self._in_utc(whole)
        whole = whole.drop("local").sort("symbol", "date", "file", "row")
        self._find_twice(whole)
        if self.terms.interval != "1day":
            uneven = whole.filter(pl.col("date").dt.truncate("1m") != pl.col("date"))
            self.faults.mark_rows(self._files, uneven, "date", "not on a whole minute")
        if self.terms.check_calendar:
            self._hold_against_calendars(whole, set(undated))
        if self.faults.count:
            raise UnfitUpload(self.faults)
        return Rows(whole, tuple(self._files), self.terms)

    def _find_twice(self, whole: pl.DataFrame) -> None:
        again = whole.with_columns(was_file=pl.col("file").shift(), was_row=pl.col("row").shift()).filter(
            pl.col("symbol").eq(pl.col("symbol").shift()) & pl.col("date").eq(pl.col("date").shift())
        )
        for at, row, was_at, was_row in again.select("file", "row", "was_file", "was_row").head(MOST_LISTED).iter_rows():
            where = "" if at == was_at else f" of {self._files[was_at]}"
            self.faults.add(Fault(self._files[at], row, "date", f"the same symbol and date as row {was_row}{where}"))
        self.faults.count += max(0, again.height - MOST_LISTED)

    def _in_utc(self, whole: pl.DataFrame) -> pl.DataFrame:
        """Moments that were told without an offset are of the exchange's clock."""
        zones = {symbol: self._clock(symbol).time_zone for symbol in whole["symbol"].unique()}
        whole = whole.with_columns(zone=pl.col("symbol").replace_strict(zones, return_dtype=pl.String))
        parts = [whole.head(0)]
        for (zone,), part in whole.partition_by("zone", as_dict=True).items():
            there = part["date"].dt.replace_time_zone(str(zone), ambiguous="null", non_existent="null")
            told = part.with_columns(there=there.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
            lost = pl.col("local") & pl.col("there").is_null()
            reason = f"no time there is in {zone}, or two of them: give its offset from UTC"
            self.faults.mark_rows(self._files, told.filter(lost), "date", reason)
            meant = pl.when("local").then("there").otherwise("date")
            parts.append(told.filter(~lost).with_columns(date=meant).drop("there"))
        return pl.concat(parts).drop("zone")

    def _clock(self, symbol: str) -> Calendar:
        return self._known.calendar(symbol) or ALWAYS_OPEN

    def _hold_against_calendars(self, whole: pl.DataFrame, undated: set[str | None]) -> None:
        """`undated`: symbols of which a row has no date, so that what is missing cannot be told; None: any."""
        daily = self.terms.interval == "1day"
        for (symbol,), part in whole.partition_by("symbol", as_dict=True, maintain_order=True).items():
            calendar = self._known.calendar(str(symbol))
            if calendar is None:
                continue
            dates = part["date"].to_numpy()
            found = dict(strays(calendar, dates, self.terms.interval))
            if not undated & {None, symbol}:
                known = self._known.days(str(symbol), self.terms.interval)
                days = dates.astype("datetime64[D]") if daily else calendar.days_of(dates.astype("datetime64[s]"))
                found |= gaps(calendar, days, known)
            for reason, rows in found.items():
                self.faults.mark_rows(self._files, part.filter(pl.Series(rows)), "date", reason)

    def _typed(self, file: str, rows: pl.Series, raw: pl.Series) -> pl.Series:
        """The column as it is stored, null where it has a fault."""
        name = raw.name
        text = raw.str.strip_chars(' \t\r"') if raw.dtype == pl.String else raw
        text = text.set(text == "", None) if text.dtype == pl.String else text
        typed, reason = self._read.get(name, read_number)(text)
        if typed is None:
            self.faults.add(Fault(file, None, name, f"a column of {raw.dtype}: {reason}"))
            return self._nothing(name, len(raw))
        if name not in ACTIONS:
            self.faults.mark(file, rows, text.is_null(), name, "empty")
        unread = text.is_not_null() & typed.is_null()
        if unread.any() and text.dtype == pl.String:
            garbled = unread & text.str.contains("\ufffd", literal=True)
            self.faults.mark(file, rows, garbled, name, "not UTF-8")
            unread &= ~garbled
        self.faults.mark(file, rows, unread, name, reason)
        return typed.set(text.is_null(), 0.0) if name in ACTIONS else typed  # most days have none

    def _check(self, file: str, rows: pl.Series, part: pl.DataFrame) -> None:
        """Each value by itself, then against the others of its row that are fit."""

        def mark(bad: pl.Expr, column: str, reason: str) -> None:
            self.faults.mark(file, rows, part.select(bad.alias("bad"))["bad"], column, reason)

        day = pl.col("date").cast(pl.Date)
        mark(day > self._latest, "date", "in the future")
        mark(day < _EARLIEST, "date", f"before {_EARLIEST.year}")
        for name in _NUMBERS:
            value = pl.col(name)
            mark(~value.is_finite(), name, "not finite")
            mark(value.is_finite() & (value > _LARGEST), name, "too large")
            if name in {"volume", *ACTIONS}:
                mark(value.is_finite() & (value < 0), name, "negative")
            else:
                mark(value.is_finite() & (value <= 0), name, "not positive")
                mark((value > 0) & (value < _SMALLEST), name, "too small")
        fit = {name: pl.when(pl.col(name).is_between(_SMALLEST, _LARGEST)).then(pl.col(name)) for name in NUMBERS}
        # these pass nulls over, so what is fit is compared whatever else is not
        highest, lowest = pl.max_horizontal(fit["open"], fit["close"]), pl.min_horizontal(fit["open"], fit["close"])
        mark(fit["high"] < highest, "high", "below open or close")
        mark(fit["low"] > lowest, "low", "above open or close")
        mark(highest.is_null() & (fit["high"] < fit["low"]), "high", "below low")
        mark(~(fit["adj_close"] / fit["close"]).is_between(*RATIOS), "adj_close", "out of proportion to close")
        mark((pl.col("split") > 0) & ~pl.col("split").is_between(*_SPLITS), "split", "no ratio of shares")

    def _empty(self) -> pl.DataFrame:
        kinds = {name: self._kinds.get(name, pl.Float64()) for name in COLUMNS}
        return pl.DataFrame(schema={**kinds, "row": pl.UInt32, "file": pl.UInt32, "local": pl.Boolean})

    def _nothing(self, name: str, length: int) -> pl.Series:
        return pl.Series(name, [None], dtype=self._kinds.get(name, pl.Float64())).new_from_index(0, length)
