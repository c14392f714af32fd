"""Many symbols × many indicators: each value as the single route gives it, each failure in its own slot."""

import asyncio
import gc
import io
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pytest
from fastapi import FastAPI

from indicator_service.api import batch as api
from indicator_service.api import dependencies
from indicator_service.app import NAME
from indicator_service.domain import batch, batch_rows
from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.ports import BarSource, ManyBars
from indicator_service.domain.series import Bars, iso_text
from shared.limits.plans import Entitlements
from tests.indicator.conftest import Counted
from tests.indicator.samples import any_parameters, seeded
from tests.support.principals import headers_for, user
from tests.support.sample import SYMBOLS

PATH = "/api/v1/indicators/batch"


async def asked(
    client: httpx.AsyncClient,
    constructs: Sequence[Mapping[str, Any]],
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    return await client.post(f"{PATH}{query}", content=orjson.dumps({"constructs": constructs}), headers=headers)


def some_constructs(seed: int, indicators: Sequence[str]) -> list[dict[str, Any]]:
    """Every symbol over a range of its own, each with all of the indicators and any parameters."""
    random_ = seeded(seed)
    constructs = []
    for symbol in SYMBOLS:
        items = []
        for name in indicators:
            parameters = any_parameters(CATALOGUE[name], random_)
            items.append({"id": f"own-{name}", "indicator": name, "parameters": parameters.shown})
        first, rows = random_.randint(0, 9), random_.randint(1, 40)
        constructs.append(
            {
                "symbol": symbol,
                "adjustment": random_.choice(["split_dividend", "split", "none"]),
                "start_date": f"20{first + 3:02}-05-0{random_.randint(1, 9)}",
                "order": random_.choice(["asc", "desc"]),
                "limit": rows,
                "indicators": items,
            }
        )
    return constructs


async def single(client: httpx.AsyncClient, construct: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in construct.items() if name not in {"indicators", "id"}}
    answer = await client.get(f"/api/v1/indicators/{item['indicator']}", params={**own, **item["parameters"]})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("seed", range(4))
async def test_every_value_is_that_of_the_single_route(client: httpx.AsyncClient, seed: int) -> None:
    """A quarter of the catalogue each; JSON, and both tables in each format."""
    indicators = sorted(CATALOGUE)[seed::4]
    constructs = some_constructs(seed, indicators)
    answer = await asked(client, constructs)
    assert (answer.status_code, answer.headers["x-kalpi-failed"]) == (200, "0"), answer.text
    tables = {
        shape: pl.read_parquet((await asked(client, constructs, f"?format=parquet&shape={shape}")).content)
        for shape in ("long", "wide")
    }
    for shape, table in tables.items():
        arrow = await asked(client, constructs, f"?format=arrow&shape={shape}")
        assert pl.read_ipc_stream(io.BytesIO(arrow.content)).equals(table)
        csv = await asked(client, constructs, f"?format=csv&shape={shape}")
        assert pl.read_csv(csv.content, try_parse_dates=True, infer_schema_length=None).shape == table.shape
    for construct, told in zip(constructs, answer.json()["data"], strict=True):
        for item, slot in zip(construct["indicators"], told["indicators"], strict=True):
            alone = await single(client, construct, item)
            rows = [dict(zip(slot["values"], row, strict=True)) for row in zip(*slot["values"].values(), strict=True)]
            assert [{"date": date, **row} for date, row in zip(told["dates"], rows, strict=True)] == alone["data"]
            for name in ("parameters", "warmup", "indicator"):
                assert slot[name] == alone[name]
            for name in ("data_points", "window", "symbol", "interval", "adjustment"):
                assert told[name] == alone[name]
            assert (told["data_version"], told["as_of"]) == (alone["provenance"]["data_version"], alone["provenance"]["as_of"])
            long = tables["long"].filter((pl.col("symbol") == told["symbol"]) & (pl.col("id") == item["id"]))
            wide = tables["wide"].filter(pl.col("symbol") == told["symbol"])
            for output, values in slot["values"].items():
                numbers = [None if value is None else float(value) for value in values]
                run = long.filter(pl.col("output") == output)
                assert (run["value"].to_list(), run["indicator"].unique().to_list()) == (numbers, [item["indicator"]])
                assert run["date"].cast(pl.String).to_list() == told["dates"]
                column = item["id"] if len(slot["values"]) == 1 else f"{item['id']}.{output}"
                assert (wide[column].to_list(), wide["date"].cast(pl.String).to_list()) == (numbers, told["dates"])


async def test_what_fails_fails_in_its_own_slot(client: httpx.AsyncClient) -> None:
    sma = {"indicator": "sma", "parameters": {"time_period": 2}}
    constructs: list[dict[str, Any]] = [
        {
            "id": "a",
            "symbol": "ibm",
            "limit": 3,
            "indicators": [sma, {"indicator": "smaa"}, {"indicator": "rsi", "parameters": {"time_period": 1}}],
        },
        {"id": "b", "symbol": "NOSUCH", "indicators": [sma, sma]},
        {"id": "c", "symbol": "IBM", "interval": "1h", "indicators": [sma]},
        {"id": "d", "symbol": "IBM", "interval": "2h", "indicators": [sma]},
        {"id": "e", "symbol": "IBM", "start_date": "2013-02-01", "end_date": "2013-01-01", "indicators": [sma]},
        {
            "id": "f",
            "symbol": "IBM",
            "limit": 1,
            "indicators": [{**sma, "more": 1}, {"id": "x", **sma}, {"id": "x", "indicator": "ema"}],
        },
        {"id": "g", "symbol": 7, "indicators": [{"indicator": "sma", "parameters": []}]},
        {"id": "h", "symbol": "\u212a", "indicators": [sma]},
    ]
    answer = await asked(client, constructs)
    assert (answer.status_code, answer.headers["x-kalpi-failed"]) == (200, "11"), answer.text
    first, *others, mixed, unfit, kelvin = answer.json()["data"]
    good, unknown, low = first["indicators"]
    assert good["values"]["value"][0] is None
    assert len(good["values"]["value"]) == len(first["dates"]) == 3
    assert (unknown["error"]["status"], unknown["error"]["type"]) == (404, "urn:kalpi:problem:unknown-indicator")
    assert low["error"]["errors"][0]["loc"] == ["body", "constructs", 0, "indicators", 2, "parameters", "time_period"]
    assert [(other["id"], other["error"]["status"]) for other in others] == [("b", 404), ("c", 422), ("d", 422), ("e", 422)]
    assert others[1]["error"]["errors"][0]["loc"] == ["body", "constructs", 2, "interval"]
    assert [slot.get("error", {}).get("status") for slot in mixed["indicators"]] == [422, None, 422]
    assert unfit["error"]["errors"][0]["loc"] == ["body", "constructs", 6, "symbol"]
    assert kelvin["error"]["errors"][0]["loc"] == ["body", "constructs", 7, "symbol"]
    table = pl.read_csv((await asked(client, constructs, "?format=csv")).content)
    assert table["id"].unique(maintain_order=True).to_list() == ["a/sma(2)", "f/x"]


async def test_a_tier_has_its_own_indicators_and_history(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    items = [{"indicator": "sma"}, {"indicator": "rsi"}]
    constructs = [{"symbol": "IBM", "indicators": items}, {"symbol": "IBM", "end_date": "2005-01-01", "indicators": items}]
    seen, past = (await asked(client, constructs, headers=free)).json()["data"]
    assert (seen["window"], seen["dates"][0]) == ({"tier": "free", "earliest": "2012-12-01", "clamped": True}, "2012-12-03")
    assert "values" in seen["indicators"][0]
    assert seen["indicators"][1]["error"]["required_tier"] == "pro"
    assert (past["error"]["status"], past["error"]["required_tier"]) == (403, "premium")


async def test_a_tier_bounds_the_series(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    small = headers_for(user("small"), NAME, Entitlements(indicators="all", batch_series=2))
    construct = {"symbol": "IBM", "limit": 1, "indicators": [{"indicator": "sma"}]}
    assert (await asked(client, [construct] * 2, headers=small)).status_code == 200
    refused = await asked(client, [construct] * 3, headers=small)
    assert (refused.status_code, refused.json()["required_tier"]) == (403, "free")
    assert (await asked(client, [construct] * 6, headers=free)).status_code == 422, "the plans of this test have 5 at most"


async def test_more_than_ten_million_values_are_refused_before_anything_is_computed(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "MOST_VALUES", 3 * 5)
    items = [{"indicator": "macd"}]
    assert (await asked(client, [{"symbol": "IBM", "limit": 5, "indicators": items}])).status_code == 200
    refused = await asked(client, [{"symbol": "IBM", "limit": 6, "indicators": items}])
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "constructs"])


async def test_the_bars_of_all_symbols_are_one_call(client: httpx.AsyncClient, data_service: tuple[Counted, str]) -> None:
    constructs = [
        {"symbol": symbol, "limit": 1, "indicators": [{"indicator": "rsi"}, {"indicator": "obv"}]} for symbol in SYMBOLS
    ]
    calls = data_service[0].calls
    calls.clear()
    assert (await asked(client, constructs)).status_code == 200
    assert calls == [("/internal/v1/bars", 200)]


async def test_as_many_groups_of_bars_as_are_fetched_one_after_the_other_are_bounded(
    client: httpx.AsyncClient, data_service: tuple[Counted, str]
) -> None:
    days = [f"2011-06-{day:02}" for day in range(1, 18)]
    constructs = [{"symbol": "IBM", "as_of": day, "limit": 1, "indicators": [{"indicator": "sma"}]} for day in days]
    assert (await asked(client, constructs[1:])).status_code == 200
    data_service[0].calls.clear()
    refused = await asked(client, constructs)
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["loc"]) == (422, ["body", "constructs"])
    assert "interval, adjustment and as_of" in error["msg"]
    assert data_service[0].calls == []


class OneByOne:
    """Gives each symbol's bars by themselves, and remembers for whom they were asked, and of how many at most the bars were held
    when the next ones were."""

    def __init__(self, source: BarSource) -> None:
        self._source = source
        self._held = weakref.WeakSet[Bars]()
        self.asked: list[str] = []
        self.most_held = 0

    async def many(self, symbols: Sequence[str], *asked: Any) -> AsyncIterator[ManyBars]:
        for symbol in symbols:
            self.asked.append(symbol)
            gc.collect()
            self.most_held = max(self.most_held, len(self._held))
            yield await self._alone(symbol, *asked)

    async def _alone(self, symbol: str, *asked: Any) -> ManyBars:
        (part,) = [part async for part in self._source.many([symbol], *asked)]
        bars = replace(part.found[symbol])
        self._held.add(bars)
        return ManyBars({symbol: bars}, {})


@pytest.mark.parametrize("query", ["", "?format=csv", "?format=arrow&shape=wide"])
async def test_bars_are_held_only_until_what_is_asked_of_them_is_written(
    client: httpx.AsyncClient, app: FastAPI, query: str
) -> None:
    constructs = [{"symbol": symbol, "limit": 3, "indicators": [{"indicator": "macd"}]} for symbol in reversed(SYMBOLS)]
    app.state.results.min_cost_s = 3600  # nothing is kept
    whole = await asked(client, constructs, query)
    app.state.source = source = OneByOne(app.state.source)
    assert (await asked(client, constructs, query)).content == whole.content
    assert source.asked == list(reversed(SYMBOLS))
    assert source.most_held == 1, "those that were computed last"


async def test_what_is_too_much_is_refused_before_the_rest_is_fetched(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_VALUES", 5)
    app.state.source = source = OneByOne(app.state.source)
    constructs = [{"symbol": symbol, "limit": 3, "indicators": [{"indicator": "sma"}]} for symbol in SYMBOLS]
    assert (await asked(client, constructs)).status_code == 422
    assert source.asked == list(SYMBOLS[:2])


async def test_answers_have_a_length_that_is_known_before_they_are_written(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    construct = {"symbol": "AAPL", "indicators": [{"id": "a" * 100, "indicator": "bbands"}, {"indicator": "macd"}]}
    for query in ("", "?format=csv", "?format=csv&shape=wide", "?format=arrow", "?format=arrow&shape=wide"):
        length = len((await asked(client, [construct], query)).content)
        with monkeypatch.context() as bounded:
            bounded.setattr(batch, "MOST_BYTES", round(length * 1.3))
            assert (await asked(client, [construct], query)).status_code == 200, query
            bounded.setattr(batch, "MOST_BYTES", round(length * 0.8))
            refused = await asked(client, [construct], query)
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "constructs"]), query


async def test_what_takes_long_waits_for_its_turn_as_what_is_large_does(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_TURN_S", 0.01)
    long = [{"indicator": "cci", "parameters": {"time_period": period}} for period in range(900, 1100)]
    many = [{"indicator": "sma", "parameters": {"time_period": period}} for period in range(2, 102)]
    async with app.state.large.of("another", 0.0):
        for symbols, limit, items, status in (
            (SYMBOLS, 1, long, 503),
            (SYMBOLS, 5_000, many, 503),
            (SYMBOLS[:1], 1, long[:1], 200),
        ):
            constructs = [{"symbol": symbol, "limit": limit, "indicators": items} for symbol in symbols]
            assert (await asked(client, constructs)).status_code == status, (limit, len(items))


async def test_what_takes_long_with_many_constructs_keeps_nobody_waiting(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = dict[str, threading.Thread]()

    def watched(call: Callable[..., Any], *given: Any) -> Any:
        threads[call.__name__] = threading.current_thread()
        return call(*given)

    for name in ("constructs_of", "groups_of", "_may_be_kept", "_kept_as", "open_constructs", "failures"):
        monkeypatch.setattr(api, name, partial(watched, getattr(api, name)))
    answer = await asked(client, [{"symbol": "IBM", "limit": 1, "indicators": [{"indicator": "sma"}]}])
    assert answer.status_code == 200
    assert len(threads) == 6
    assert threading.main_thread() not in threads.values()


async def test_dates_that_symbols_share_are_written_once(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def watched(dates: npt.NDArray[np.datetime64], zone: str | None) -> list[str]:
        written.append(len(dates))
        return iso_text(dates, zone)

    monkeypatch.setattr(batch_rows, "iso_text", watched)
    constructs = [{"symbol": symbol, "limit": 7, "indicators": [{"indicator": "sma"}]} for symbol in ("IBM", "AAPL", "IBM")]
    first, *others = (await asked(client, constructs)).json()["data"]
    assert [other["dates"] for other in others] == [first["dates"]] * 2
    assert written.count(7) == 1


async def test_long_bodies_are_read_one_at_a_time_and_others_meanwhile(client: httpx.AsyncClient, app: FastAPI) -> None:
    content = orjson.dumps({"constructs": [{"symbol": "IBM", "limit": 1, "indicators": [{"indicator": "sma"}]}]})
    async with app.state.reading:
        long = asyncio.create_task(client.post(PATH, content=content.ljust((64 << 10) + 1)))
        for _ in range(3):
            assert (await client.post(PATH, content=content)).status_code == 200
        assert not long.done()
    assert (await long).content == (await client.post(PATH, content=content)).content


async def test_a_series_has_no_more_structure_than_it_needs(client: httpx.AsyncClient) -> None:
    junk = {"indicator": "sma", "parameters": {"x": [{}] * 30_000}}
    refused = await asked(client, [{"symbol": "IBM", "indicators": [junk]}])
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body"])


@pytest.mark.parametrize(
    ("ids", "column"), [(("b", "b.upper"), "b.upper"), (("date", "date_"), "date_"), (("symbol_", "symbol"), "symbol_")]
)
async def test_two_outputs_do_not_share_a_column(client: httpx.AsyncClient, ids: tuple[str, str], column: str) -> None:
    indicators = ("bbands", "sma") if "." in column else ("sma", "ema")
    items = [{"id": own, "indicator": name} for own, name in zip(ids, indicators, strict=True)]
    apart = [{"symbol": "IBM", "limit": 2, "indicators": [item]} for item in items]
    for constructs in ([{"symbol": "IBM", "limit": 2, "indicators": items}], apart):
        refused = await asked(client, constructs, "?format=csv&shape=wide")
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", "shape"])
        assert column in refused.json()["detail"]
        for query in ("?format=csv", ""):
            assert (await asked(client, constructs, query)).headers["x-kalpi-failed"] == "0"


@pytest.mark.parametrize("format_", ["json", "csv", "arrow", "parquet"])
async def test_a_batch_of_which_nothing_can_be_answered_is_still_answered(client: httpx.AsyncClient, format_: str) -> None:
    for shape in ("long", "wide"):
        answer = await asked(
            client, [{"symbol": "NOSUCH", "indicators": [{"indicator": "sma"}]}], f"?format={format_}&shape={shape}"
        )
        assert (answer.status_code, answer.headers["x-kalpi-failed"]) == (200, "1"), answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"{}", b'{"constructs":{}}', b'{"constructs":[]}', b'{"constructs":[7]}',
        b'{"constructs":[{"symbol":"IBM"}]}',
        b'{"constructs":[{"symbol":"IBM","indicators":[]}]}', b'{"constructs":[{"symbol":"IBM","indicators":["rsi"]}]}',
        b'{"constructs":[{"symbol":"IBM","indicators":[{"indicator":"rsi"}]}],"more":1}',
    ],
)  # fmt: skip
async def test_what_has_no_slots_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    refused = await client.post(PATH, content=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"][0] == "body"


async def test_as_of_and_moments(client: httpx.AsyncClient) -> None:
    constructs = [
        {
            "symbol": "AAPL",
            "as_of": "2005-02-25",
            "limit": 1,
            "order": "desc",
            "indicators": [{"indicator": "max", "parameters": {"time_period": 2}}],
        }
    ]
    (told,) = (await asked(client, constructs)).json()["data"]
    assert (told["dates"], told["as_of"], told["truncated"]) == (["2005-02-25"], "2005-02-25", True)
    np.testing.assert_allclose(told["indicators"][0]["values"]["value"][0], 88.99, atol=0.1)


async def test_an_expression_is_an_input_as_in_the_single_route(client: httpx.AsyncClient) -> None:
    item = {"indicator": "rsi", "parameters": {"series_type": "sma(close, 20) - ema(12)"}}
    construct = {"symbol": "IBM", "start_date": "2013-01-02", "indicators": [item]}
    (told,) = (await asked(client, [construct])).json()["data"]
    alone = await single(client, construct, item)
    assert told["indicators"][0]["values"]["value"] == [row["value"] for row in alone["data"]]
    assert told["indicators"][0]["warmup"] == alone["warmup"]
    without = headers_for(user("premium"), NAME, Entitlements(indicators="all", batch_series=5))
    (refused,) = (await asked(client, [construct], headers=without)).json()["data"]
    assert refused["indicators"][0]["error"]["status"] == 403
