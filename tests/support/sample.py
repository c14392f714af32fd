"""The shipped bars, read and adjusted here by the rule of the documentation, independently of data-service's code."""

import datetime as dt
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
PARQUET = Path(__file__).parents[2] / "data-service/src/data_service/sample/bars.parquet"


@dataclass(frozen=True)
class Bars:
    dates: list[dt.date]
    close: npt.NDArray[np.float64]
    traded: npt.NDArray[np.float64]


@cache
def adjusted(symbol: str) -> Bars:
    """close(t) x factor(t), factor(t) = (adj_close/close)(t) / (adj_close/close)(newest)."""
    frame = pl.read_parquet(PARQUET).filter(pl.col("symbol") == symbol).sort("date")
    traded = frame["close"].to_numpy().astype(np.float64)
    ratio = frame["adj_close"].to_numpy().astype(np.float64) / traded
    return Bars(frame["date"].to_list(), traded * (ratio / ratio[-1]), traded)
