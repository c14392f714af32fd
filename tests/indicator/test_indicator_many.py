"""Bars of many symbols from the real data-service, and what they were on a day in the past."""

import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from data_service.app import create_app as create_data_service
from data_service.settings import Settings as DataSettings
from indicator_service.adapters import data_client
from indicator_service.adapters.kept_bars import Block, KeptBars, Key
from indicator_service.app import NAME, create_app
from indicator_service.domain.ports import BarSource
from indicator_service.domain.series import COLUMNS, Bars
from indicator_service.settings import Settings
from shared.limits.plans import Entitlements
from tests.indicator.conftest import Counted
from tests.indicator.samples import walk
from tests.support.asgi import running
from tests.support.http_server import serving
from tests.support.principals import PRINCIPAL_KEYS, Vouched, headers_for, user
from tests.support.sample import PARQUET, SYMBOLS

MANY, VERSIONS = "/internal/v1/bars", "/internal/v1/versions"
DAY = date(2005, 2, 25)


async def of_many(app: FastAPI, symbols: Sequence[str] | None, **asked: Any) -> tuple[dict[str, Bars], dict[str, str]]:
    source: BarSource = app.state.source
    found: dict[str, Bars] = {}
    missing: dict[str, str] = {}
    async for part in source.many(symbols, "1day", "split_dividend", **asked):
        assert not found.keys() & part.found.keys()
        found.update(part.found)
        missing.update(part.missing)
    return found, missing


def assert_same(one: Bars, other: Bars, columns: Collection[str] = COLUMNS) -> None:
    assert (one.symbol, one.data_version, one.zone, one.newest) == (other.symbol, other.data_version, other.zone, other.newest)
    assert one.date.dtype == other.date.dtype
    for name in ("date", *columns):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).flags.c_contiguous


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("as_of", [None, DAY])
@pytest.mark.parametrize("chunk", [256, 2])
async def test_each_of_many_is_as_it_is_alone(
    app: FastAPI,
    chunk: int,
    as_of: date | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_client, "_CHUNK", chunk)
    found, missing = await of_many(app, None, as_of=as_of, columns=COLUMNS)
    assert list(found) == sorted(SYMBOLS)
    assert not missing
    source: BarSource = app.state.source
    app.state.source._kept = KeptBars(1 << 30)  # so that it fetches again
    for symbol in SYMBOLS:
        alone = await source.bars(symbol, "1day", "split_dividend", as_of)
        assert_same(found[symbol], alone)
        assert alone.days[1] == date(2013, 3, 1)


@pytest.mark.usefixtures("client")
async def test_what_is_kept_is_not_sent_again(app: FastAPI, data_service: tuple[Counted, str]) -> None:
    calls = data_service[0].calls
    first, _ = await of_many(app, ["IBM", "MSFT", "NOSUCH"])
    again, missing = await of_many(app, ["MSFT", "IBM"])
    assert again["IBM"].close is first["IBM"].close
    assert (list(again), missing) == (["MSFT", "IBM"], {})
    # another column is fetched with the one there was
    wider, _ = await of_many(app, ["IBM"], columns=["volume"])
    assert wider["IBM"].has(["close", "volume"])
    assert not wider["IBM"].has(["open"])
    assert (await of_many(app, ["IBM"]))[0]["IBM"].volume is wider["IBM"].volume
    assert {path for path, _ in calls} == {MANY, "/health/ready"} or {path for path, _ in calls} == {MANY}
    assert (await of_many(app, ["NOSUCH"]))[1] == {"NOSUCH": "unknown"}
    assert (await of_many(app, []))[0] == {}
    # one who wants all of a symbol is not given a part of it
    whole = await app.state.source.bars("IBM", "1day", "split_dividend")
    assert whole.has(COLUMNS)


@pytest.mark.usefixtures("client")
async def test_of_all_symbols_a_second_time_only_the_versions_are_asked_for(
    app: FastAPI,
    data_service: tuple[Counted, str],
) -> None:
    first, _ = await of_many(app, None)
    calls = data_service[0].calls
    calls.clear()
    again, _ = await of_many(app, None)
    assert calls == [(VERSIONS, 304)]
    assert all(again[symbol] is first[symbol] for symbol in SYMBOLS)


@pytest.mark.usefixtures("client")
async def test_a_reader_who_stops_early_leaves_nothing_behind(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_client, "_CHUNK", 1)
    source: BarSource = app.state.source
    parts = source.many(None, "1day", "none")
    first = await anext(parts)
    await parts.aclose()  # type: ignore[attr-defined]  # an async generator
    assert list(first.found) == ["AAPL"]


def test_kept_bars_take_no_more_room_than_they_are_given() -> None:
    """Symbols of one answer share its memory, so they are counted once, until the last of them has gone."""
    bars = walk(1, 10)
    names: list[Key] = [(f"S{at}", "1day", "none", None) for at in range(4)]
    kept = KeptBars(250)
    shared = Block(100)
    kept.keep(names[0], bars, shared)
    kept.keep(names[1], bars, shared)
    kept.keep(names[2], bars, Block(100))
    assert [kept.get(name) is not None for name in names] == [True, True, True, False]
    kept.get(names[0])
    kept.keep(names[3], bars, Block(100))  # the second goes, then the third, for the first still holds what they shared
    assert [kept.get(name) is not None for name in names] == [True, False, False, True]
    kept.keep(names[3], bars, Block(300))
    assert [kept.get(name) is not None for name in names] == [False] * 4
    kept.keep(names[0], bars, Block(250))
    assert kept.get(names[0]) is bars


@asynccontextmanager
async def services_on(
    path: Path, state: Path, database_url: str, redis_url: str, nats_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Both services, on the bars of a file."""
    secrets = {"principal_keys": PRINCIPAL_KEYS, "redis_url": redis_url, "nats_url": nats_url}
    common: dict[str, Any] = {name: SecretStr(value) for name, value in secrets.items()}
    database = SecretStr(database_url)
    async with serving(create_data_service(DataSettings(state_dir=state, bars_path=path, **common))) as url:
        app = create_app(Settings(data_urls=(url,), database_url=database, **common))
        async with running(app, Vouched(user(), NAME)) as own:
            yield own


@pytest.mark.parametrize("interval", ["1day", "1month"])
async def test_as_of_a_day_is_what_a_store_says_that_never_saw_the_later_bars(
    client: httpx.AsyncClient,
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    nats_url: str,
    interval: str,
) -> None:
    """The split of three days later (AAPL, 2005-02-28) is in no price yet."""
    then_known = tmp_path / "until"
    then_known.mkdir()
    pl.read_parquet(PARQUET).filter(pl.col("date") <= DAY).write_parquet(then_known / "bars.parquet")
    splits = pl.read_csv(PARQUET.with_name("splits.csv"), try_parse_dates=True)
    splits.filter(pl.col("date") <= DAY).write_csv(then_known / "splits.csv")
    shutil.copy(PARQUET.with_name("symbols.csv"), then_known)
    async with services_on(then_known, tmp_path / "state", database_url, redis_url, nats_url) as then:
        for indicator in ("rsi", "ema", "atr", "obv"):
            asked = f"/api/v1/indicators/{indicator}?symbol=AAPL&interval={interval}&include_ohlc=true&limit=50000"
            past, known = (await client.get(f"{asked}&as_of={DAY}")).json(), (await then.get(asked)).json()
            del past["provenance"]["data_version"], known["provenance"]["data_version"]
            assert past["provenance"]["as_of"] == "2005-02-25"
            assert past == known


async def test_the_window_of_a_tier_counts_from_the_newest_bar_whatever_as_of(client: httpx.AsyncClient) -> None:
    pro = headers_for(user("pro"), NAME, Entitlements(indicators="all", history_days=365, batch_series=5))
    path = "/api/v1/indicators/sma?symbol=IBM&time_period=2"
    seen = (await client.get(f"{path}&as_of=2012-12-31", headers=pro)).json()
    assert (seen["window"]["earliest"], seen["end_date"]) == ("2012-03-01", "2012-12-31")
    refused = await client.get(f"{path}&as_of=2005-02-25", headers=pro)
    assert (refused.status_code, refused.json()["required_tier"]) == (403, "premium")


async def test_before_the_first_bar_nothing_was_known(client: httpx.AsyncClient) -> None:
    for indicator in ("rsi", "macd", "cdldoji", "obv"):
        answer = await client.get(f"/api/v1/indicators/{indicator}?symbol=FB&as_of=2001-01-01")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["data"], answer.json()["provenance"]["as_of"]) == ([], None)
