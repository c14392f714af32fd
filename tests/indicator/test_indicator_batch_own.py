"""Users' own indicators in a batch: what the single routes answer, and refuse, each item in its own slot."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from indicator_service.app import create_app
from indicator_service.settings import Settings
from tests.indicator.people import BASE, CUSTOM, LENGTH, SPREAD, Person
from tests.support.asgi import running
from tests.support.principals import ALL

NO_CUSTOM = ALL.model_copy(update={"features": ("expressions",)})
HUMP = {"name": "hump", "expression": "(source + source[-1]) / n - sma(source, 3)", "parameters": [{**LENGTH, "name": "n"}]}
ITEMS: Sequence[dict[str, Any]] = [
    {"indicator": "spread"},
    {"indicator": "SPREAD", "parameters": {"length": 5}},
    {"indicator": "up"},
    {"indicator": "channel", "parameters": {"length": 10}},
    {"indicator": "hump", "parameters": {"n": 2, "series_type": "spread(7)"}},
    {"indicator": "rsi", "parameters": {"series_type": "hump(hlc3, 3) + spread()"}},
    {"indicator": "correl", "parameters": {"series_type": "spread(length=9)", "series_type_2": "open"}},
    {"indicator": "rsi"},
]


async def asked(person: Person, constructs: Sequence[Mapping[str, Any]], query: str = "") -> httpx.Response:
    answer = await person.post(f"{BASE}/batch{query}", {"constructs": constructs})
    assert answer.status_code == 200, answer.text
    return answer


async def slots(person: Person, *items: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = await asked(person, [{"symbol": "AAPL", "limit": 5, "indicators": items}])
    (told,) = answer.json()["data"]
    found: list[dict[str, Any]] = told["indicators"]
    assert answer.headers["x-kalpi-failed"] == str(sum("error" in slot for slot in found))
    return found


async def alone(person: Person, item: Mapping[str, Any], **query: Any) -> httpx.Response:
    params = {"symbol": "AAPL", "limit": 5, **query, **item.get("parameters", {})}
    return await person.get(f"{BASE}/{item['indicator']}", params=params)


def said(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem without where in the request it stood: the parameters of one that is too costly stand elsewhere in an item."""
    at = {"instance", "request_id", "detail", "errors"}
    errors = [{**error, "loc": error["type"] != "cost" and error["loc"][-1]} for error in problem.get("errors", ())]
    return {**{name: value for name, value in problem.items() if name not in at}, "errors": errors}


async def assert_refused_alike(person: Person, items: Sequence[Mapping[str, Any]], *statuses: int) -> None:
    """As by the single route, and the one that is none of a user's own is answered."""
    *refused, rsi = await slots(person, *items, {"indicator": "rsi"})
    assert "values" in rsi
    for item, slot, status in zip(items, refused, statuses, strict=True):
        answer = await alone(person, item)
        assert (answer.status_code, said(slot["error"])) == (status, said(answer.json())), item


async def save_all(person: Person) -> None:
    await person.save(**SPREAD)
    await person.save(**HUMP)
    await person.save(name="up", expression="close > open")
    await person.save(name="channel", expression="bbands(length, 2, 2)", parameters=[LENGTH])


async def test_every_value_is_that_of_the_single_route(ann: Person) -> None:
    await save_all(ann)
    ranges: Sequence[dict[str, Any]] = [
        {"symbol": "AAPL", "start_date": "2012-03-05", "limit": 200},
        {"symbol": "FB", "order": "desc", "limit": 60},
    ]
    constructs = [{**range_, "indicators": ITEMS} for range_ in ranges]
    answer = await asked(ann, constructs)
    assert answer.headers["x-kalpi-failed"] == "0", answer.text
    long = pl.read_parquet((await asked(ann, constructs, "?format=parquet")).content)
    for range_, told in zip(ranges, answer.json()["data"], strict=True):
        for item, slot in zip(ITEMS, told["indicators"], strict=True):
            single = (await alone(ann, item, **range_)).json()
            rows = [dict(zip(slot["values"], row, strict=True)) for row in zip(*slot["values"].values(), strict=True)]
            assert [{"date": date, **row} for date, row in zip(told["dates"], rows, strict=True)] == single["data"]
            for name in ("indicator", "parameters", "warmup"):
                assert slot[name] == single[name]
            called = f"{slot['indicator']}({','.join(map(str, slot['parameters'].values()))})"
            if "series_type" not in slot["parameters"]:
                table = long.filter((pl.col("symbol") == told["symbol"]) & (pl.col("id") == called))
                for name, values in slot["values"].items():
                    assert table.filter(pl.col("output") == name)["value"].to_list() == values


async def test_they_are_looked_up_once_and_only_where_something_names_them(
    ann: Person, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save_all(ann)
    looked_up = []
    store = app.state.custom._store

    class Counted:
        def transaction(self) -> Any:
            looked_up.append(self)
            return store.transaction()

    monkeypatch.setattr(app.state.custom, "_store", Counted())
    await slots(ann, {"indicator": "rsi"}, {"indicator": "ema", "parameters": {"series_type": "sma(close, 3)"}})
    assert looked_up == []
    await asked(ann, [{"symbol": symbol, "indicators": ITEMS} for symbol in ("IBM", "AAPL")])
    assert len(looked_up) == 1


async def test_a_change_counts_in_the_next_batch(ann: Person) -> None:
    await ann.save(name="mine", expression="close")
    item = {"indicator": "mine"}
    for expression in ("close * 2", "open"):
        before = await slots(ann, item)
        await ann("PUT", f"{CUSTOM}/mine", json={"expression": expression})
        (after,) = await slots(ann, item)
        assert after["values"]["value"] == [row["value"] for row in (await alone(ann, item)).json()["data"]]
        assert [after] != before


async def test_another_users_are_unknown(ann: Person, bob: Person) -> None:
    await save_all(ann)
    series = {"indicator": "rsi", "parameters": {"series_type": "spread()"}}
    await assert_refused_alike(bob, [{"indicator": "spread"}, series, {"indicator": "no such"}], 404, 422, 404)
    await bob.save(name="spread", expression="high - low")
    for item in ({"indicator": "spread"}, series):
        assert await slots(ann, item) != await slots(bob, item)


async def test_a_plan_without_them_uses_none(ann: Person) -> None:
    await save_all(ann)
    ann.entitlements = NO_CUSTOM
    series = {"indicator": "rsi", "parameters": {"series_type": "spread()"}}
    await assert_refused_alike(ann, [{"indicator": "spread"}, series], 403, 422)
    ann.entitlements = ALL.model_copy(update={"indicators": ("sma", "rsi")})
    await assert_refused_alike(ann, [{"indicator": "channel"}], 403)


async def test_what_is_amiss_in_one_fails_as_it_does_alone(ann: Person, database_url: str) -> None:
    """Its parameters, a call of it, what it would cost, and what the catalogue of today no longer makes of it."""
    await save_all(ann)
    await ann.save(name="slow", expression="mavp(close, volume, 2, 100000)")
    await ann.save(name="stale", expression="sma(close, 3)")
    connection = await asyncpg.connect(database_url)
    changed = "UPDATE indicator.custom_indicator_version SET expression = 'gone(close)' WHERE expression = 'sma(close, 3)'"
    await connection.execute(changed)
    await connection.close()
    items: Sequence[dict[str, Any]] = [
        {"indicator": "spread", "parameters": {"length": 1}},
        {"indicator": "rsi", "parameters": {"series_type": "spread(1)"}},
        {"indicator": "rsi", "parameters": {"series_type": "spred(5)"}},
        {"indicator": "slow"},
        {"indicator": "stale"},
        {"indicator": "rsi", "parameters": {"series_type": "stale()"}},
    ]
    await assert_refused_alike(ann, items, 422, 422, 422, 422, 409, 409)


async def test_without_postgres_only_items_that_name_one_are_away(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://u:p@127.0.0.1:1/x")})
    async with running(create_app(nowhere)) as client:
        ann = Person(client)
        series = {"indicator": "rsi", "parameters": {"series_type": "spread()"}}
        mistaken = {"indicator": "rsi", "parameters": {"series_type": "sma(close"}}
        await assert_refused_alike(ann, [{"indicator": "spread"}, series, mistaken, {"indicator": "no such"}], 503, 503, 422, 404)
        answers = await asyncio.gather(*(slots(ann, {"indicator": "spread"}, series) for _ in range(3)))
        assert [slot["error"]["status"] for answer in answers for slot in answer] == [503] * 6
