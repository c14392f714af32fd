"""A batch as it is answered: as JSON, construct by construct, or as one table of all of it.

The table is long (a row for each value) or wide (a row for each symbol and date, a column for each output). Failed items have no
rows in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
import polars as pl

from indicator_service.domain.answer import ENGINE
from indicator_service.domain.batch import MOST_VALUES, Construct, Item, computed
from indicator_service.domain.engine import Outputs
from indicator_service.domain.request import Parameters
from indicator_service.domain.rows import json_column, numbers_of
from indicator_service.domain.series import Floats, iso_text
from shared.errors import InvalidInput, KalpiError
from shared.local_time import zoned

__all__ = ["Shape", "failures", "json_pieces", "table"]

Shape = Literal["long", "wide"]
Described = Callable[[KalpiError], dict[str, Any]]
"""An error as its slot shows it."""


def failures(constructs: Sequence[Construct]) -> int:
    """Series without values."""
    return sum(
        max(1, len(construct.items)) if construct.error is not None else sum(item.error is not None for item in construct.items)
        for construct in constructs
    )


def json_pieces(constructs: Sequence[Construct], tier: str, described: Described) -> Iterator[bytes]:
    """`{"provenance":…,"data":[…]}`, in the order of the constructs, a piece for each."""
    yield b'{"provenance":%b,"data":[' % orjson.dumps({"engine": ENGINE})
    dates: dict[tuple[int, int, int, str], bytes] = {}
    for construct in constructs:
        document = orjson.dumps(_document(construct, tier, described, dates))
        yield document if construct is constructs[0] else b"," + document
    yield b"]}"


def _document(
    construct: Construct, tier: str, described: Described, known_dates: dict[tuple[int, int, int, str], bytes]
) -> dict[str, Any]:
    if construct.error is not None or construct.asked is None:
        assert construct.error is not None  # noqa: S101 - what was not understood has one
        return {"id": construct.id, "symbol": construct.symbol, "error": described(construct.error)}
    bars, page, asked, window = construct.bars, construct.page, construct.asked, construct.window
    key = id(bars.date), page.first, page.end, page.order
    if key not in known_dates:  # symbols of one exchange share them
        known_dates[key] = orjson.dumps(iso_text(bars.date[page.rows], bars.zone))
    values = {id(item): (parameters, outputs) for item, parameters, outputs in computed(construct)}
    whole = page.end - page.first
    return {
        "id": construct.id,
        "symbol": construct.symbol,
        "interval": asked.interval,
        "adjustment": asked.adjustment,
        "data_points": whole,
        "truncated": page.next_cursor is not None,
        "window": {"tier": tier, "earliest": window.earliest, "clamped": window.clamped},
        "data_version": bars.data_version,
        "as_of": iso_text(bars.date[-1:], bars.zone)[0] if len(bars) else None,
        "dates": orjson.Fragment(known_dates[key]),
        "indicators": [_item(construct, item, values.get(id(item)), described) for item in construct.items],
    }


def _item(construct: Construct, item: Item, answer: tuple[Parameters, Outputs] | None, described: Described) -> dict[str, Any]:
    if answer is None:
        assert item.error is not None  # noqa: S101 - an item has the one or the other
        return {"id": item.id, "indicator": item.indicator, "error": described(item.error)}
    parameters, outputs = answer
    required, used = parameters.warmup, construct.page.first
    rows = construct.page.rows
    return {
        "id": item.id,
        "indicator": item.indicator,
        "parameters": parameters.shown,
        "warmup": {"required": required, "used": used, "converged": required is None or used >= required},
        "values": {name: orjson.Fragment(json_column(outputs, name, rows)) for name in outputs.columns},
    }


@dataclass(frozen=True, slots=True)
class _Run:
    """The values of one output of one item."""

    construct: Construct
    label: str
    indicator: str
    output: str
    values: Floats
    several: bool


def _runs(constructs: Sequence[Construct]) -> Iterator[_Run]:
    for construct in constructs:
        if construct.error is None:
            for item, parameters, outputs in computed(construct):
                several = len(outputs.columns) > 1
                for name in outputs.columns:
                    values = numbers_of(outputs, name)[construct.page.rows]
                    yield _Run(construct, item.label, parameters.indicator.name, name, values, several)


def table(constructs: Sequence[Construct], shape: Shape) -> dict[str, Any]:
    """Columns for `shared.formats.table_of`. `id` is what the client called construct and item, else what the item computes.

    InvalidInput where days and moments would share a column, or a wide table would have more than ten million cells.
    """
    good = [construct for construct in constructs if construct.error is None]
    return _wide(good) if shape == "wide" else _long(good)


def _long(constructs: Sequence[Construct]) -> dict[str, Any]:
    runs = list(_runs(constructs))
    lengths = [len(run.values) for run in runs]
    names = {
        "id": ["/".join(filter(None, (run.construct.id, run.label))) for run in runs],
        "symbol": [run.construct.symbol for run in runs],
        "indicator": [run.indicator for run in runs],
        "output": [run.output for run in runs],
    }
    repeated = {name: _repeated(texts, lengths) for name, texts in names.items()}
    return {
        "id": repeated["id"],
        "symbol": repeated["symbol"],
        "date": _dates([run.construct for run in runs]),
        "indicator": repeated["indicator"],
        "output": repeated["output"],
        "value": np.concatenate([run.values for run in runs]) if runs else np.empty(0),
    }


def _wide(constructs: Sequence[Construct]) -> dict[str, Any]:
    """A symbol's rows are those of its construct; a column that its construct has not is null there."""
    filled = [construct for construct in constructs if next(construct.good, None) is not None]
    lengths = [construct.rows for construct in filled]
    ends = dict(zip(map(id, filled), np.cumsum(lengths).tolist(), strict=True))
    total = sum(lengths)
    labels = {
        (item.label, name): len(parameters.indicator.outputs) > 1
        for construct in filled
        for item, parameters in construct.good
        for name in parameters.indicator.outputs
    }
    if total * len(labels) > MOST_VALUES:
        msg = f"{total:,} rows of {len(labels):,} columns; a table has at most {MOST_VALUES:,} cells: ask for shape=long"
        raise InvalidInput.field("query", "shape", msg=msg)
    columns = {label: np.full(total, np.nan) for label in labels}
    for run in _runs(filled):
        end = ends[id(run.construct)]
        columns[run.label, run.output][end - len(run.values) : end] = run.values
    named = {(f"{label}.{output}" if labels[label, output] else label): column for (label, output), column in columns.items()}
    return {
        "id": _repeated([construct.id for construct in filled], lengths),
        "symbol": _repeated([construct.symbol for construct in filled], lengths),
        "date": _dates(filled),
        **{f"{name}_" if name in {"id", "symbol", "date"} else name: column for name, column in named.items()},
    }


def _repeated(texts: Sequence[str | None], lengths: Sequence[int]) -> pl.Series:
    """Each so many times, stored once."""
    known = dict.fromkeys(text for text in texts if text is not None)
    return pl.Series(texts, dtype=pl.Enum(list(known))).gather(np.repeat(np.arange(len(texts)), lengths))


def _dates(constructs: Sequence[Construct]) -> Any:
    zones = {construct.bars.zone for construct in constructs}
    if None in zones and len(zones) > 1:
        msg = "days and times do not share a column: ask for intervals of less than a day by themselves, or for json"
        raise InvalidInput.field("body", "constructs", msg=msg)
    parts = [construct.bars.date[construct.page.rows] for construct in constructs]
    if not parts:
        return np.empty(0, "datetime64[D]")
    zone = zones.pop()
    whole = np.concatenate(parts)
    return whole if zone is None else zoned(whole, "UTC" if zones else zone)
