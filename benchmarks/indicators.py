"""What an indicator costs inside the service: 750 bars of a stored symbol, computed and written. Run by `make bench-indicators`.

The floor is what nobody can do without: TA-Lib on the symbol's whole history, a slice, and orjson writing the same values and
dates as two arrays. Figures are of the processor's time, medians of rounds in turn, to be compared in one run; those of
pandas-ta-classic come from a process of its own, in an environment made for it and thrown away.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import talib
from rich.console import Console
from rich.table import Table
from talib import _ta_lib

from indicator_service.domain.answer import Scope
from indicator_service.domain.batch import Construct, Opened, Size, groups_of, open_constructs, parse_batch
from indicator_service.domain.batch_rows import JsonRows, Shape, TableRows
from indicator_service.domain.candles import parse_candles
from indicator_service.domain.catalogue import CATALOGUE, FUNCTIONS_BY_NAME, find
from indicator_service.domain.engine import compute
from indicator_service.domain.expressions import expression_of
from indicator_service.domain.request import IndicatorRequest, parse_parameters, parse_request
from indicator_service.domain.rows import json_rows
from indicator_service.domain.series import Bars
from shared.errors import KalpiError
from shared.formats import render, table_of
from shared.limits.batches import constructs_of
from shared.limits.history import HistoryWindow
from tests.indicator.samples import part, sample, walk

ROWS = 750
ROUNDS = 15
TIMES = 200
SCREEN = "rsi(14) < 30 and close > sma(close, 200)"
SCREENED = 1_260
_PANDAS_TA = "pandas-ta-classic"
_WHOLE = HistoryWindow(None, None, clamped=False)

Work = Callable[[], object]


def medians_us(works: Mapping[str, Work]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(TIMES):
                work()
            rounds[name].append((time.process_time() - began) / TIMES * 1e6)
    return {name: statistics.median(figures) for name, figures in rounds.items()}


def answered(request: IndicatorRequest, bars: Bars) -> bytes:
    """As the route does it, once the request is parsed and the bars are there."""
    scope = Scope(request, bars, HistoryWindow(request.wanted.start, None, clamped=False), "premium")
    return scope.document(request.parameters.computed(bars))


def works_of_rsi(bars: Bars) -> dict[str, Work]:
    rows = slice(len(bars) - ROWS, len(bars))
    request = parse_request(CATALOGUE["rsi"], [("symbol", bars.symbol), ("start_date", bars.iso_dates[rows.start])])
    outputs = compute(CATALOGUE["rsi"], bars, [bars.close], {"time_period": 14})
    dates = orjson.Fragment(orjson.dumps(bars.iso_dates[rows]))
    frame = pl.DataFrame({"date": bars.date, "close": bars.close})

    def floor() -> bytes:
        values = talib.RSI(bars.close, 14)[rows]
        return orjson.dumps({"date": dates, "value": values}, option=orjson.OPT_SERIALIZE_NUMPY)

    def row_dicts() -> bytes:
        values = talib.RSI(bars.close, 14)[rows]
        dated = zip(bars.iso_dates[rows], values.tolist(), strict=True)
        return orjson.dumps([{"date": date, "value": value} for date, value in dated])

    def polars_rsi() -> pl.DataFrame:
        change = pl.col("close").diff()
        up, down = (part.ewm_mean(alpha=1 / 14, adjust=False) for part in (change.clip(0, None), (-change).clip(0, None)))
        return frame.select("date", (100 * up / (up + down)).alias("value"))

    def polars_json() -> bytes:
        buffer = io.BytesIO()
        polars_rsi().slice(rows.start, ROWS).write_json(buffer)
        return buffer.getvalue()

    return {
        "floor": floor,
        "service: page, RSI, rows, document": lambda: answered(request, bars),
        "  of which the rows as JSON": lambda: json_rows(bars, outputs, rows, include_ohlc=False),
        "  of which RSI": lambda: compute(CATALOGUE["rsi"], bars, [bars.close], {"time_period": 14}),
        "  parsing the request comes before": lambda: parse_request(
            CATALOGUE["rsi"], [("symbol", "AAPL"), ("time_period", "14")]
        ),
        "TA-Lib and a dict for each row": row_dicts,
        "Polars, eager: RSI": polars_rsi,
        "Polars, eager: RSI to JSON": polars_json,
    }


def works_of_macd(bars: Bars) -> dict[str, Work]:
    rows = slice(len(bars) - ROWS, len(bars))
    request = parse_request(CATALOGUE["macd"], [("symbol", bars.symbol), ("start_date", bars.iso_dates[rows.start])])
    dates = orjson.Fragment(orjson.dumps(bars.iso_dates[rows]))

    def floor() -> bytes:
        macd, signal, histogram = (column[rows] for column in talib.MACD(bars.close, 12, 26, 9))
        document = {"date": dates, "macd": macd, "signal": signal, "histogram": histogram}
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    return {"floor": floor, "service: page, MACD, rows, document": lambda: answered(request, bars)}


def works_of_candles(bars: Bars) -> dict[str, Work]:
    names = ("open", "high", "low", "close", "volume")
    shown = {name: getattr(bars, name)[-ROWS:].tolist() for name in names}
    dates = bars.iso_dates[-ROWS:]
    columns = orjson.dumps({"bars": {"date": dates, **shown}})
    rows = [dict(zip(("date", *names), row, strict=True)) for row in zip(dates, *shown.values(), strict=True)]
    objects = orjson.dumps({"bars": rows})

    def sent(body: bytes) -> bytes:
        request, own = parse_candles(CATALOGUE["rsi"], body)
        return Scope(request, own, _WHOLE, "premium").document(request.parameters.computed(own))

    return {
        "floor: orjson reads them": lambda: orjson.loads(objects),
        "service: candles as objects, RSI to JSON": lambda: sent(objects),
        "service: candles as columns, RSI to JSON": lambda: sent(columns),
    }


SYMBOLS, BATCH_ROUNDS = 500, 7
BATCH = {"sma": 20, "ema": 20, "rsi": 14, "macd": None, "bbands": 20, "atr": 14, "adx": 14, "stoch": None}


def bare_batch(bars: Mapping[str, Bars]) -> None:
    for one in bars.values():
        talib.SMA(one.close, 20)
        talib.EMA(one.close, 20)
        talib.RSI(one.close, 14)
        talib.MACD(one.close, 12, 26, 9)
        talib.BBANDS(one.close, 20, 2, 2)
        talib.ATR(one.high, one.low, one.close, 14)
        talib.ADX(one.high, one.low, one.close, 14)
        talib.STOCH(one.high, one.low, one.close, 5, 3, 0, 3, 0)


def batch_ms() -> dict[str, float]:
    """500 symbols of 750 bars × 8 indicators, in milliseconds."""
    bars = {f"S{at}": replace(walk(at, ROWS), symbol=f"S{at}") for at in range(SYMBOLS)}
    dates = bars["S0"].date
    bars = {name: replace(one, date=dates) for name, one in bars.items()}
    items = [{"indicator": name, "parameters": {"time_period": period} if period else {}} for name, period in BATCH.items()]
    body = orjson.dumps({"constructs": [{"symbol": name, "indicators": items} for name in bars]})

    def opened() -> tuple[list[Construct], list[Opened]]:
        constructs = parse_batch(constructs_of(body), lambda name, sent, loc: parse_parameters(find(name), sent, *loc))
        (group,) = groups_of(constructs)
        alike = (construct for constructs in group.constructs.values() for construct in constructs)
        opened = open_constructs(alike, bars, {}, lambda _bars, _start, _end: _WHOLE)
        rows, size = JsonRows(constructs, "premium", described), Size()
        for one in opened:
            size.add(one, rows.weigh(one))
        return constructs, opened

    def described(error: KalpiError) -> dict[str, Any]:
        return {"title": str(error)}

    constructs, ready = opened()

    def compute_all() -> None:
        for one in ready:
            deque(one.computed(), 0)

    def json() -> bytes:
        rows = JsonRows(constructs, "premium", described)
        rows.add(ready)
        return b"".join(rows.whole())

    def arrow(shape: Shape) -> bytes:
        rows = TableRows(constructs, shape, text=False)
        rows.add(ready)
        return render(table_of(rows.whole()), "arrow")

    works: dict[str, Work] = {
        "bare TA-Lib loop": lambda: bare_batch(bars),
        "service: compute": compute_all,
        "service: parse, rows, bounds": opened,
        "service: compute and write JSON": json,
        "service: compute and write Arrow, long": lambda: arrow("long"),
        "service: compute and write Arrow, wide": lambda: arrow("wide"),
    }
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(BATCH_ROUNDS):
        for name, work in works.items():
            began = time.process_time()
            work()
            rounds[name].append((time.process_time() - began) * 1e3)
    return {name: statistics.median(figures) for name, figures in rounds.items()}


def works_of_expressions(bars: Bars) -> dict[str, Work]:
    """Of the condition that a screener would ask of each symbol."""
    rsi, screen = (expression_of(text, FUNCTIONS_BY_NAME) for text in ("rsi(14)", SCREEN))
    nested, long = (expression_of(text, FUNCTIONS_BY_NAME) for text in ("rsi(sma(close, 20), 14)", "close / open"))

    def bare() -> object:
        return talib_calls["rsi"](bars.close, 14), talib_calls["sma"](bars.close, 200)

    talib_calls = {"rsi": _ta_lib.RSI, "sma": _ta_lib.SMA}
    return {
        "TA-Lib's two calls": bare,
        "its newest value": lambda: screen.newest([bars]),
        "its whole series": lambda: screen.evaluate(bars),
        "RSI, as the indicator": lambda: compute(CATALOGUE["rsi"], bars, [bars.close], {"time_period": 14}),
        "rsi(14)": lambda: rsi.evaluate(bars),
        "rsi(sma(close, 20), 14)": lambda: nested.evaluate(bars),
        "close / open": lambda: long.evaluate(bars),
        "reading it": lambda: expression_of(SCREEN, FUNCTIONS_BY_NAME),
    }


def pandas_ta_us(bars: Bars) -> float | str:
    """RSI alone, on a Series of 750 closes; or why there is no figure."""
    script = f"""
        import statistics, sys, time
        import numpy, pandas, pandas_ta_classic
        close = pandas.Series(numpy.load(sys.argv[1]))
        rounds = []
        for _ in range({ROUNDS}):
            began = time.process_time()
            for _ in range(20):
                pandas_ta_classic.rsi(close, length=14, talib=False)
            rounds.append((time.process_time() - began) / 20 * 1e6)
        print(statistics.median(rounds))
    """
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        folder = Path(name)
        np.save(folder / "close.npy", bars.close[-ROWS:])
        python = folder / "venv" / "bin" / "python"
        steps: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"],
            [uv, "pip", "install", "--quiet", "--python", python, _PANDAS_TA],
            [python, "-W", "ignore", "-c", textwrap.dedent(script), folder / "close.npy"],
        ]
        said = ""
        for step in steps:
            done = subprocess.run(  # noqa: S603 - the project's own tools
                step, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "PYTHONPATH": ""}
            )
            if done.returncode:
                return f"not to be had: {(done.stderr.strip().splitlines() or ['?'])[-1][:80]}"
            said = done.stdout
        return float(said)


def shown(title: str, figures: Mapping[str, float | str], unit: str, measure: str = "µs") -> Table:
    table = Table("", measure, f"ratio to {unit}", title=title)
    one = figures[unit]
    for row, figure in figures.items():
        if isinstance(figure, str) or isinstance(one, str):
            table.add_row(row, str(figure), "")
        else:
            table.add_row(row, f"{figure:,.1f}", f"{figure / one:,.2f}")
    return table


def main() -> None:
    bars, console = sample("AAPL"), Console()
    figures = medians_us(works_of_rsi(bars))
    console.print(shown(f"RSI, {ROWS} rows of {len(bars):,} bars, to JSON", figures, "floor"))
    alone = works_of_rsi(part(bars, slice(len(bars) - ROWS, None)))
    same = {"service": alone["  of which RSI"], "Polars, eager": alone["Polars, eager: RSI"]}
    others = {**medians_us(same), f"{_PANDAS_TA}, talib off": pandas_ta_us(bars)}
    console.print(shown(f"RSI alone, {ROWS} bars on every side", others, "service"))
    console.print(shown(f"MACD, {ROWS} rows, to JSON", medians_us(works_of_macd(bars)), "floor"))
    console.print(shown(f"own candles, {ROWS} bars", medians_us(works_of_candles(bars)), "floor: orjson reads them"))
    console.print(
        shown(f"batch: {SYMBOLS} symbols of {ROWS} bars × {len(BATCH)} indicators", batch_ms(), "bare TA-Lib loop", "ms")
    )
    screened = part(bars, slice(len(bars) - SCREENED, None))
    console.print(shown(f"{SCREEN}, {SCREENED:,} bars", medians_us(works_of_expressions(screened)), "TA-Lib's two calls"))


if __name__ == "__main__":
    main()
