"""data-service over HTTP: what users and services may ask, and what they are told."""

import io
from datetime import date

import httpx
import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from data_service.adapters.nats import FeedData
from data_service.app import NAME, create_app
from data_service.domain.intervals import Interval, newest_days_are_partial
from data_service.settings import Settings
from shared.clock import system_clock
from shared.events import DeliverPolicy, EventBus, Fact
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from shared.limits.plans import parse_plans
from shared.principal import Principal
from shared.store import open_store
from shared.subjects import DEAD_LETTER_STREAM, MARKET_STREAM, bars_subject, feed_subject
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import Vouched, headers_for, user
from tests.support.sample import adjusted

PLANS = """
anonymous_ip: {quota: 50}
tiers:
  pro: {limits: {}, entitlements: {indicators: all, history_days: 365, batch_series: 5}}
  premium: {limits: {}, entitlements: {indicators: all, batch_series: 5}}
"""


def service() -> dict[str, str]:
    """indicator-service, vouching for itself now: a signature holds for 30 s."""
    return headers_for(Principal.service("indicator-service"), NAME, None)


async def test_symbols_come_in_pages_and_can_be_searched(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v1/symbols?limit=2")).json()
    assert [row["symbol"] for row in first["data"]] == ["AAPL", "FB"]
    rest = (await client.get(f"/api/v1/symbols?cursor={first['next_cursor']}")).json()
    assert [row["symbol"] for row in rest["data"]][:3] == ["GOOG", "IBM", "MSFT"]
    assert [row["symbol"] for row in (await client.get("/api/v1/symbols?search=oo")).json()["data"]] == ["GOOG"]


async def test_a_symbol_says_what_there_is_of_it(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/symbols/aapl")).json()
    assert (answer["symbol"], answer["first_date"], answer["last_date"], answer["rows"]) == (
        "AAPL",
        "2000-03-01",
        "2013-03-01",
        3270,
    )


async def test_symbols_are_filtered_by_what_there_is_of_them(client: httpx.AsyncClient) -> None:
    for query, expected in (
        ("first_date_before=2000-03-01", ["AAPL", "IBM", "MSFT"]),
        ("first_date_before=2000-02-29", []),
        ("first_date_before=2004-08-19&search=o", ["GOOG"]),
        ("last_date_after=2013-03-01", ["AAPL", "FB", "GOOG", "IBM", "MSFT"]),
        ("last_date_after=2013-03-02", []),
        ("interval=1week&search=ib", ["IBM"]),
        ("interval=5min", []),
    ):
        answer = (await client.get(f"/api/v1/symbols?{query}")).json()
        assert [row["symbol"] for row in answer["data"]] == expected, query
        assert answer["next_cursor"] is None


async def test_pages_of_symbols_hold_all_that_fit_once(client: httpx.AsyncClient) -> None:
    found, query = [], "first_date_before=2004-08-19&limit=1"
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"/api/v1/symbols?{query}" + (f"&cursor={cursor}" if cursor else ""))).json()
        found += [row["symbol"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert found == ["AAPL", "GOOG", "IBM", "MSFT"]


async def test_symbols_are_not_sent_twice_either(client: httpx.AsyncClient) -> None:
    listed, one = await client.get("/api/v1/symbols"), await client.get("/api/v1/symbols/IBM")
    for answer in (listed, one):
        again = await client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert one.headers["surrogate-key"] == f"bars:IBM@{one.json()['data_version']}"
    assert "surrogate-key" not in listed.headers


@pytest.mark.parametrize(
    ("days", "interval", "partial"),
    [
        # 2013-03-01 is a Friday, 2013-03-31 a Sunday
        (["2013-02-28"], "1week", True),
        (["2013-02-28", "2013-03-01"], "1week", False),
        (["2013-03-28"], "1month", True),
        (["2013-03-29"], "1month", False),
        (["2013-02-28"], "1month", False),
        # it trades at weekends
        (["2013-02-24", "2013-03-01"], "1week", True),
        (["2013-03-02", "2013-03-03"], "1week", False),
        (["2013-03-24", "2013-03-29"], "1month", True),
        (["2013-03-28"], "1day", False),
        ([], "1week", False),
    ],
)
def test_a_period_is_over_on_the_last_day_it_can_trade(days: list[str], interval: Interval, partial: bool) -> None:
    assert newest_days_are_partial(np.array(days, dtype="datetime64[D]"), interval, None) is partial


async def test_the_last_month_is_marked_until_it_is_over(client: httpx.AsyncClient) -> None:
    """The sample ends on Friday, 2013-03-01."""
    months = (await client.get("/api/v1/bars/IBM?interval=1month&order=desc&limit=3&include=close")).json()["data"]
    assert [(row["date"], row["partial"]) for row in months] == [
        ("2013-03-01", True),
        ("2013-02-28", False),
        ("2013-01-31", False),
    ]
    weeks = (await client.get("/api/v1/bars/IBM?interval=1week&start_date=2013-02-20")).json()["data"]
    assert [(row["date"], row["partial"]) for row in weeks] == [("2013-02-22", False), ("2013-03-01", False)]
    earlier = (await client.get("/api/v1/bars/IBM?interval=1month&end_date=2013-02-28&order=desc&limit=1")).json()["data"]
    assert earlier[0]["partial"] is False, "a month that the range ends in is not the newest"
    assert "partial" not in (await client.get("/api/v1/bars/IBM?limit=1")).json()["data"][0]


async def test_bars_are_the_adjusted_rows_of_the_range(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/bars/AAPL?start_date=2005-02-24&end_date=2005-03-02")
    document = answer.json()
    bars = adjusted("AAPL")
    first, last = bars.dates.index(date(2005, 2, 24)), bars.dates.index(date(2005, 3, 2))
    expected = {bars.dates[row].isoformat(): float(bars.close[row]) for row in range(first, last + 1)}
    assert {row["date"]: row["close"] for row in document["data"]} == expected
    assert document["data_points"] == len(expected)
    assert answer.headers["surrogate-key"] == f"bars:AAPL@{document['provenance']['data_version']}"


async def test_pages_follow_each_other_until_there_is_no_next(client: httpx.AsyncClient) -> None:
    dates, cursor = [], ""
    while True:
        page = (await client.get(f"/api/v1/bars/FB?order=desc&limit=60{cursor}")).json()
        dates += [row["date"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert dates == [day.isoformat() for day in reversed(adjusted("FB").dates)]


async def test_the_same_bytes_are_not_sent_twice(client: httpx.AsyncClient) -> None:
    first = await client.get("/api/v1/bars/IBM?limit=3")
    again = await client.get("/api/v1/bars/IBM?limit=3", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_tier_sees_its_days_and_is_told_so(client: httpx.AsyncClient, pro: dict[str, str]) -> None:
    clamped = (await client.get("/api/v1/bars/IBM?start_date=2010-01-01", headers=pro)).json()
    assert clamped["window"] == {"tier": "pro", "earliest": "2012-03-01", "clamped": True}
    assert clamped["data"][0]["date"] == "2012-03-01"


async def test_a_range_before_the_tiers_window_is_forbidden(settings: Settings, pro: dict[str, str], redis_url: str) -> None:
    async with open_store(redis_url) as redis:
        await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
    async with running(create_app(settings), headers=pro) as client:

        async def refused() -> httpx.Response | None:
            answer = await client.get("/api/v1/bars/IBM?end_date=2011-01-01")
            return answer if answer.status_code == 403 else None

        answer = await until(refused)
    assert answer is not None
    assert answer.json()["required_tier"] == "premium"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("interval=7min", "interval"),
        ("interval=5min", "interval"),
        ("start_date=yesterday", "start_date"),
        ("start_date=0", "start_date"),
        ("end_date=20131200", "end_date"),
        ("as_of=86400", "as_of"),
        ("start_date=2013-02-01&end_date=2013-01-01", "start_date"),
        ("adjustment=some", "adjustment"),
        ("limit=0", "limit"),
        ("limit=50001", "limit"),
        ("order=up", "order"),
        ("cursor=nonsense", "cursor"),
        ("colour=red", "colour"),
    ],
)
async def test_a_bad_parameter_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"/api/v1/bars/AAPL?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"][:2] == ["query", field]


async def test_what_is_not_stored_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/symbols/NOPE", "/api/v1/bars/NOPE"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:kalpi:problem:unknown-symbol")
    for name in ("no%20symbol", "%E2%84%AA", "%C3%9F"):  # among all letters the Kelvin sign is a k, and a sharp s is SS
        assert (await client.get(f"/api/v1/bars/{name}")).status_code == 422, name
    assert (await client.get("/internal/v1/bars/NOPE", headers=service())).status_code == 404


async def test_services_get_every_bar_as_arrow_and_nothing_when_they_have_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/internal/v1/bars/GOOG", headers=service())
    frame = pl.read_ipc_stream(io.BytesIO(answer.content))
    assert frame.columns == ["date", "open", "high", "low", "close", "volume"]
    np.testing.assert_array_equal(frame["close"].to_numpy(), adjusted("GOOG").close)
    assert frame["date"].to_list() == adjusted("GOOG").dates
    again = await client.get("/internal/v1/bars/GOOG", headers={**service(), "If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_users_do_not_get_what_is_for_services(client: httpx.AsyncClient) -> None:
    assert (await client.get("/internal/v1/bars/GOOG")).status_code == 404


def feed_bar(symbol: str, day: str, close: float, **changes: object) -> dict[str, object]:
    bar = {"date": day, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 10.0, **changes}
    return {"symbol": symbol, "interval": "1day", "bar": bar, "final": True}


async def test_a_live_bar_is_served_announced_once_seen_and_kept(settings: Settings, nats_url: str) -> None:
    symbol = f"LIVE-{new_id().hex[-12:].upper()}"
    announced: list[str] = []

    async def heard(fact: Fact) -> None:
        announced.append(fact.data["data_version"])

    async def nothing() -> None:
        return

    vouched = Vouched(user(), NAME)
    async with (
        running(create_app(settings), vouched) as client,
        EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus,
    ):
        bus.follow(MARKET_STREAM, [bars_subject(symbol)], heard, on_gap=nothing, deliver=DeliverPolicy.ALL)
        told = (("2020-01-02", 10.0), ("2020-01-03", 11.0), ("2020-01-03", 11.0), ("2020-01-03", 12.0))
        for day, close in told:
            before = len(announced)
            await bus.publish(feed_subject("test"), feed_bar(symbol, day, close))

            # each before the next, for the stream keeps the newest alone; twice is harmless, so there may be more than one
            async def arrived(before: int = before) -> bool:
                return len(announced) > before

            await until(arrived, what=f"the announcement of {day}, {close}")

        async def newest() -> dict[str, str]:
            answer: dict[str, str] = (await client.get(f"/api/v1/symbols/{symbol}")).json()
            return answer if answer["data_version"] == announced[-1] else {}

        version = (await until(newest, what="the newest version"))["data_version"]
        rows = (await client.get(f"/api/v1/bars/{symbol}")).json()["data"]
    assert [(row["date"], row["close"]) for row in rows] == [("2020-01-02", 10.0), ("2020-01-03", 12.0)]
    assert len({*announced}) == 3, "the same bar again changes nothing"

    async with running(create_app(settings), vouched) as client:
        kept = (await client.get(f"/api/v1/symbols/{symbol}")).json()
    assert kept["data_version"] == version


@pytest.mark.parametrize(
    "data",
    [
        feed_bar("LIVE-X", "2020-01-02", 10.0, high=5.0),
        feed_bar("LIVE-X", "2020-01-02", -1.0),
        feed_bar("live x", "2020-01-02", 10.0),
        feed_bar("LIVE-X", "someday", 10.0),
        {"symbol": "LIVE-X"},
    ],
)
async def test_an_unfit_live_bar_is_dead_lettered_and_stored_nowhere(
    settings: Settings, nats_url: str, data: dict[str, object]
) -> None:
    letters: list[Fact] = []

    async def heard(fact: Fact) -> None:
        letters.append(fact)

    async def nothing() -> None:
        return

    async with (
        running(create_app(settings), Vouched(user(), NAME)) as client,
        EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus,
    ):
        sent = await bus.publish(feed_subject("test"), data)
        bus.follow(DEAD_LETTER_STREAM, ["kalpi.dlq.>"], heard, on_gap=nothing, deliver=DeliverPolicy.ALL)

        async def dead() -> bool:
            return sent.id in {letter.id for letter in letters}

        await until(dead, what="the dead letter")
        assert (await client.get("/api/v1/symbols/LIVE-X")).status_code == 404


@pytest.mark.parametrize(
    ("interval", "date", "expected"),
    [
        ("1day", "2026-11-02", "2026-11-02"),
        ("1min", "2026-11-02T00:00:00Z", "2026-11-02T00:00:00"),
        ("4h", "2026-11-02T00:00:00+09:00", "2026-11-01T15:00:00"),
        ("1min", "2026-11-02T09:30-05:00", "2026-11-02T14:30:00"),
    ],
)
def test_a_live_bar_bears_its_day_or_its_beginning(interval: str, date: str, expected: str) -> None:
    assert str(FeedData.model_validate({**feed_bar("A", date, 1.0), "interval": interval}).date()) == expected


@pytest.mark.parametrize(
    ("interval", "date"), [("1day", "2026-11-02T09:30Z"), ("1min", "2026-11-02"), ("1min", "2026-11-02T09:30")]
)
def test_a_live_bar_of_another_kind_of_date_is_unfit(interval: str, date: str) -> None:
    with pytest.raises(ValidationError):
        FeedData.model_validate({**feed_bar("A", date, 1.0), "interval": interval}).date()
