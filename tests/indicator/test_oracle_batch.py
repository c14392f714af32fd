"""The oracle on batches: every function × five symbols × the defaults and three random sets, in every format, to the last bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from indicator_service.domain.catalogue import TALIB
from indicator_service.domain.request import Parameters
from indicator_service.domain.talib_info import MA_TYPES
from tests.indicator.conftest import Answering
from tests.indicator.oracle import Rows, expected_of, of_list, of_series, parameter_sets, table_of
from tests.indicator.samples import sample
from tests.support.sample import SYMBOLS

PARTS = 6
TEXTS = ("id", "symbol", "indicator", "output")
Expected = Mapping[tuple[str, str], Rows]
"""By symbol and id, in the order of the answer."""


Items = Mapping[str, Parameters]
"""By id."""


def body_of(items: Items) -> dict[str, Any]:
    indicators = [{"id": id_, "indicator": of.indicator.name, "parameters": of.shown} for id_, of in items.items()]
    return {"constructs": [{"symbol": symbol, "indicators": indicators} for symbol in SYMBOLS]}


def expected_of_all(items: Items) -> Expected:
    return {(symbol, id_): expected_of(parameters, sample(symbol)) for symbol in SYMBOLS for id_, parameters in items.items()}


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_value_of_a_batch_is_ta_libs(answer_of: Answering, part: int) -> None:
    every = [(f"{indicator.name}-{at}", of) for indicator in TALIB.values() for at, of in enumerate(parameter_sets(indicator))]
    items = dict(every[part::PARTS])
    body, expected = body_of(items), expected_of_all(items)
    check_slots(await answer_of("POST", "indicators/batch", None, body), expected)
    for written in ("csv", "arrow", "parquet"):
        for shape, check in (("long", check_long), ("wide", check_wide)):
            check(await answer_of("POST", "indicators/batch", {"format": written, "shape": shape}, body), written, expected)


async def test_every_moving_average_is_ta_libs_wherever_one_is_chosen(answer_of: Answering) -> None:
    items = {
        f"{indicator.name}-{parameter.name}-{choice}": Parameters(
            indicator, indicator.defaults | {parameter.name: choice}, indicator.series_defaults
        )
        for indicator in TALIB.values()
        for parameter in indicator.parameters
        for choice in parameter.choices
    }
    assert len(items) == 15 * len(MA_TYPES)
    check_slots(await answer_of("POST", "indicators/batch", None, body_of(items)), expected_of_all(items))


def check_slots(answer: bytes, expected: Expected) -> None:
    slots = [(construct, item) for construct in orjson.loads(answer)["data"] for item in construct["indicators"]]
    assert [(construct["symbol"], item["id"]) for construct, item in slots] == list(expected)
    for (construct, item), rows in zip(slots, expected.values(), strict=True):
        Rows(construct["dates"], {name: of_list(values) for name, values in item["values"].items()}).check(rows)


def check_long(answer: bytes, written: str, expected: Expected) -> None:
    """One run of rows for each output of each item of each symbol."""
    table = table_of(answer, written, {**dict.fromkeys(TEXTS, pl.String), "date": pl.Date, "value": pl.Float64})
    assert table.columns == ["id", "symbol", "date", "indicator", "output", "value"]
    runs = [
        (id_, symbol, id_.partition("-")[0], output, column.values)
        for (symbol, id_), rows in expected.items()
        for output, column in rows.columns.items()
    ]
    *texts, values = map(list, zip(*runs, strict=True))
    run = np.repeat(np.arange(len(runs)), list(map(len, values)))
    for name, text in zip(TEXTS, texts, strict=True):
        assert table[name].cast(pl.String).equals(pl.Series(name, text, pl.String).gather(run)), name
    dates = np.concatenate([sample(symbol).date for symbol in texts[1]])
    assert table["date"].to_numpy().astype(dates.dtype).tobytes() == dates.tobytes()
    assert of_series(table["value"]).values.tobytes() == np.concatenate(values).tobytes()


def check_wide(answer: bytes, written: str, expected: Expected) -> None:
    """One row for each date of each symbol, one column for each output of each item."""
    columns: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {}
    for (_, id_), rows in expected.items():
        for output, column in rows.columns.items():
            columns.setdefault(id_ if len(rows.columns) == 1 else f"{id_}.{output}", []).append(column.values)
    texts = {"id": pl.String, "symbol": pl.String, "date": pl.String}
    table = table_of(answer, written, {**texts, **dict.fromkeys(columns, pl.Float64)}).with_columns(pl.col(texts).cast(pl.String))
    assert table.columns == [*texts, *columns]
    assert table["id"].null_count() == len(table), "the constructs have none"
    keys = [(symbol, date) for symbol in SYMBOLS for date in sample(symbol).iso_dates]
    assert table.select("symbol", "date").rows() == keys
    for name, values in columns.items():
        assert of_series(table[name]).values.tobytes() == np.concatenate(values).tobytes(), name
