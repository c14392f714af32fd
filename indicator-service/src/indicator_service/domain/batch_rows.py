"""A batch as it is answered: as JSON, construct by construct, or as one table of all of it.

Constructs are written as soon as they are computed, whatever their order, so that neither their bars nor their whole series are
kept. The table is long (a row for each value) or wide (a row for each symbol and date, a column for each output). Failed items
have no rows in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from indicator_service.domain.answer import ENGINE
from indicator_service.domain.batch import MOST_VALUES, Construct, Item, Opened
from indicator_service.domain.engine import Outputs
from indicator_service.domain.request import Parameters
from indicator_service.domain.rows import json_column, numbers_of
from indicator_service.domain.series import Floats, iso_text
from shared.errors import InvalidInput, KalpiError
from shared.local_time import zoned

__all__ = ["JsonRows", "Shape", "TableRows", "failures"]

Shape = Literal["long", "wide"]
Described = Callable[[KalpiError], dict[str, Any]]
"""An error as its slot shows it."""

_NUMBER = 20
"""Bytes of a value as text with what separates it, nearly always."""
_MOMENT, _DAY = 28, 13
_ITEM, _CONSTRUCT = 300, 400
"""Bytes of what JSON says beside values and dates."""
_TAKEN = {"id", "symbol", "date"}


def failures(constructs: Sequence[Construct]) -> int:
    """Series without values."""
    return sum(
        max(1, len(construct.items)) if construct.error is not None else sum(item.error is not None for item in construct.items)
        for construct in constructs
    )


class JsonRows:
    """`{"provenance":…,"data":[…]}`, in the order of the constructs."""

    def __init__(self, constructs: Sequence[Construct], tier: str, described: Described) -> None:
        self._constructs = constructs
        self._tier = tier
        self._described = described
        self._written: dict[int, list[bytes]] = {}

    def weigh(self, one: Opened) -> int:
        """About how many bytes it will be."""
        outputs = sum(len(parameters.indicator.outputs) for _, parameters in one.construct.good)
        series = sum(len(text) for _, parameters in one.construct.good for text in parameters.series)
        numbers = one.rows * (_NUMBER * outputs + _date_length(one))
        return numbers + series + _ITEM * len(one.construct.items) + _CONSTRUCT

    def add(self, opened: Iterable[Opened]) -> None:
        """Computes and writes them."""
        dates: dict[tuple[int, int, int, str], bytes] = {}
        for one in opened:
            self._written[one.construct.at] = list(self._pieces(one, dates))

    def whole(self) -> list[bytes]:
        """In pieces, to be joined by whoever sends them."""
        pieces = [b'{"provenance":%b,"data":[' % orjson.dumps({"engine": ENGINE})]
        for at, construct in enumerate(self._constructs):
            if at:
                pieces.append(b",")
            pieces += [self._failed(construct, construct.error)] if construct.error else self._written.pop(construct.at)
        return [*pieces, b"]}"]

    def _failed(self, construct: Construct, error: KalpiError) -> bytes:
        return orjson.dumps({"id": construct.id, "symbol": construct.symbol, "error": self._described(error)})

    def _pieces(self, one: Opened, known_dates: dict[tuple[int, int, int, str], bytes]) -> Iterator[bytes]:
        bars, page, asked, window = one.bars, one.page, one.asked, one.window
        # symbols of one exchange share them, each with a view of its own
        key = bars.date.__array_interface__["data"][0], page.first, page.end, page.order
        if key not in known_dates:
            known_dates[key] = orjson.dumps(iso_text(bars.date[page.rows], bars.zone))
        head = {
            "id": one.construct.id,
            "symbol": one.construct.symbol,
            "interval": asked.interval,
            "adjustment": asked.adjustment,
            "data_points": one.rows,
            "truncated": page.next_cursor is not None,
            "window": {"tier": self._tier, "earliest": window.earliest, "clamped": window.clamped},
            "data_version": bars.data_version,
            "as_of": iso_text(bars.date[-1:], bars.zone)[0] if len(bars) else None,
        }
        yield orjson.dumps(head)[:-1] + b',"dates":'
        yield known_dates[key]
        between = b',"indicators":['
        for item, computed in one.computed():
            yield between + orjson.dumps(self._item(one, item, computed))
            between = b","
        yield b"]}"

    def _item(self, one: Opened, item: Item, computed: tuple[Parameters, Outputs] | None) -> dict[str, Any]:
        if computed is None:
            assert item.error is not None  # noqa: S101 - an item has the one or the other
            return {"id": item.id, "indicator": item.indicator, "error": self._described(item.error)}
        parameters, outputs = computed
        required, used = parameters.warmup, one.page.first
        return {
            "id": item.id,
            "indicator": item.indicator,
            "parameters": parameters.shown,
            "warmup": {"required": required, "used": used, "converged": required is None or used >= required},
            "values": {name: orjson.Fragment(json_column(outputs, name, one.page.rows)) for name in outputs.columns},
        }


@dataclass(frozen=True, slots=True)
class _Run:
    """The values of one output of one item."""

    label: str
    indicator: str
    output: str
    column: str
    values: Floats


@dataclass(slots=True)
class _Filled:
    """What the table has of a construct."""

    construct: Construct
    dates: npt.NDArray[np.datetime64]
    zone: str | None
    runs: list[_Run] = field(default_factory=list)


class TableRows:
    """Columns for `shared.formats.table_of`. `id` is what the client called construct and item, else what the item computes.

    InvalidInput where two outputs of a wide table would share a column.
    """

    def __init__(self, constructs: Sequence[Construct], shape: Shape, *, text: bool) -> None:
        """`text`: whether it will be written as such."""
        self._shape = shape
        self._text = text
        self._columns = _columns_of(constructs) if shape == "wide" else {}
        self._rows = 0
        self._zones: set[str | None] = set()
        self._filled: list[_Filled] = []

    def weigh(self, one: Opened) -> int:
        """About how many bytes it will be. To be asked of each before it is computed: InvalidInput where days and moments would
        share a column, or a wide table would have too many cells."""
        if next(one.construct.good, None) is None:
            return 0
        self._rows += one.rows
        self._zones.add(one.bars.zone)
        if None in self._zones and len(self._zones) > 1:
            msg = "days and times do not share a column: ask for intervals of less than a day by themselves, or for json"
            raise InvalidInput.field("body", "constructs", msg=msg)
        if self._rows * len(self._columns) > MOST_VALUES:
            msg = f"{len(self._columns):,} columns; a table has at most {MOST_VALUES:,} cells: ask for shape=long"
            raise InvalidInput.field("query", "shape", msg=msg)
        return one.rows * self._row_length(one)

    def _row_length(self, one: Opened) -> int:
        """Of one of its dates, in all rows it has."""
        good = [(_length(item.label), parameters.indicator) for item, parameters in one.construct.good]
        own = _length(one.construct.id) + len(one.construct.symbol) + _date_length(one)
        outputs = sum(len(indicator.outputs) for _, indicator in good)
        if not self._text:  # numbers of eight bytes, dates of four or eight, and codes of one or two that stand for texts
            return 8 + 8 * len(self._columns) if self._shape == "wide" else 20 * outputs
        if self._shape == "wide":
            return own + _NUMBER * outputs + len(self._columns)
        names = sum(len(name) for _, indicator in good for name in indicator.outputs)
        return names + sum(len(indicator.outputs) * (own + label + len(indicator.name) + _NUMBER) for label, indicator in good)

    def add(self, opened: Iterable[Opened]) -> None:
        """Computes them."""
        for one in opened:
            if next(one.construct.good, None) is not None:
                # copies: a view would keep all of the symbol's history
                filled = _Filled(one.construct, one.bars.date[one.page.rows].copy(), one.bars.zone)
                filled.runs += _runs(one)
                self._filled.append(filled)

    def whole(self) -> dict[str, Any]:
        filled = sorted(self._filled, key=lambda filled: filled.construct.at)
        return self._wide(filled) if self._shape == "wide" else _long(filled)

    def _wide(self, filled: Sequence[_Filled]) -> dict[str, Any]:
        """A symbol's rows are those of its construct; a column that its construct has not is null there."""
        lengths = [len(each.dates) for each in filled]
        ends = np.cumsum(lengths).tolist()
        used = {run.column for each in filled for run in each.runs}
        columns = {name: np.full(sum(lengths), np.nan) for name in self._columns if name in used}
        for each, end in zip(filled, ends, strict=True):
            for run in each.runs:
                columns[run.column][end - len(run.values) : end] = run.values
        return {
            "id": _repeated([each.construct.id for each in filled], lengths),
            "symbol": _repeated([each.construct.symbol for each in filled], lengths),
            "date": _dates(filled, [1] * len(filled)),
            **columns,
        }


def _long(filled: Sequence[_Filled]) -> dict[str, Any]:
    runs = [(each.construct, run) for each in filled for run in each.runs]
    lengths = [len(run.values) for _, run in runs]
    return {
        "id": _repeated(["/".join(filter(None, (construct.id, run.label))) for construct, run in runs], lengths),
        "symbol": _repeated([construct.symbol for construct, _ in runs], lengths),
        "date": _dates(filled, [len(each.runs) for each in filled]),
        "indicator": _repeated([run.indicator for _, run in runs], lengths),
        "output": _repeated([run.output for _, run in runs], lengths),
        "value": np.concatenate([run.values for _, run in runs]) if runs else np.empty(0),
    }


def _columns_of(constructs: Iterable[Construct]) -> Mapping[str, tuple[str, str]]:
    """Which output of which item stands in each column of a wide table; InvalidInput where two would stand in one."""
    columns: dict[str, tuple[str, str]] = {}
    for construct in constructs:
        for item, parameters in construct.good:
            for output in parameters.indicator.outputs:
                name = _column_of(item, parameters, output)
                meant = item.label, output if len(parameters.indicator.outputs) > 1 else ""
                if columns.setdefault(name, meant) != meant:
                    msg = f"two outputs would share the column {name}: give their items other ids, or ask for shape=long"
                    raise InvalidInput.field("query", "shape", msg=msg)
    return columns


def _column_of(item: Item, parameters: Parameters, output: str) -> str:
    name = f"{item.label}.{output}" if len(parameters.indicator.outputs) > 1 else item.label
    return f"{name}_" if name in _TAKEN else name


def _runs(one: Opened) -> Iterator[_Run]:
    for item, computed in one.computed():
        if computed is not None:
            parameters, outputs = computed
            for name in outputs.columns:
                values = numbers_of(outputs, name)[one.page.rows].copy()
                yield _Run(item.label, parameters.indicator.name, name, _column_of(item, parameters, name), values)


def _repeated(texts: Sequence[str | None], lengths: Sequence[int]) -> pl.Series:
    """Each so many times, stored once."""
    known = dict.fromkeys(text for text in texts if text is not None)
    return pl.Series(texts, dtype=pl.Enum(list(known))).gather(np.repeat(np.arange(len(texts)), lengths))


def _length(text: str | None) -> int:
    return len(orjson.dumps(text))


def _date_length(one: Opened) -> int:
    return _DAY if one.bars.zone is None else _MOMENT


def _dates(filled: Sequence[_Filled], times: Sequence[int]) -> Any:
    """The dates of each so many times."""
    if not filled:
        return np.empty(0, "datetime64[D]")
    zone, *others = {each.zone for each in filled}
    whole = np.concatenate([each.dates for each, count in zip(filled, times, strict=True) for _ in range(count)])
    return whole if zone is None else zoned(whole, "UTC" if others else zone)
