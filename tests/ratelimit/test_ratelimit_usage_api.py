"""History and analytics over HTTP: whose they are, what they add up to, as JSON and CSV, page after page."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NotFoundError
from pydantic import SecretStr

from kalpi_local.servers import Servers
from ratelimit_service.api.cursors import decode, encode
from ratelimit_service.app import NAME, create_app
from ratelimit_service.domain.analytics import changes
from ratelimit_service.domain.histograms import ERROR
from ratelimit_service.domain.history import window_of
from ratelimit_service.domain.requests import NOBODY
from ratelimit_service.settings import Settings
from shared.clock import system_clock
from shared.errors import InvalidInput
from shared.events import EventBus
from shared.ids import new_id
from shared.principal import Principal
from shared.scopes import scopes_of
from shared.subjects import USAGE_STREAM
from tests.ratelimit.databases import partitioned_database
from tests.ratelimit.usage_world import Asked, key_id, tenant_id, usage_store, user_id
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, headers_for

TODAY = system_clock().replace(hour=12, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
INDICATOR = "/api/v1/indicators/{name}"
HISTORY, ANALYTICS = "/api/v1/usage/history", "/api/v1/analytics"

ASKED = [
    *[Asked(at=YESTERDAY, user=1, key=1, cache="hit", latency_us=100)] * 3,
    *[Asked(at=TODAY, user=1, key=1, latency_us=2000)] * 2,
    Asked(at=TODAY, user=1, key=1, status=429, units=0, latency_us=50),
    *[Asked(at=TODAY, user=1, key=2, endpoint=INDICATOR, indicator="rsi", symbol="MSFT", units=4)] * 2,
    Asked(at=TODAY, user=1, status=503, endpoint=INDICATOR, indicator="sma", request_id="broken"),
    *[Asked(at=TODAY, user=2, key=3, tier="free")] * 5,
    *[Asked(at=YESTERDAY, user=25, key=4)] * 7,
    Asked(at=TODAY, user=0, units=0, status=401, symbol=""),
]


def principal(user: int, *, tenant_role: Any = None, roles: tuple[str, ...] = ()) -> Principal:
    whose = {"user_id": str(user_id(user)), "tenant_id": str(tenant_id(user))}
    return Principal(kind="user", **whose, tier="pro", roles=roles, scopes=scopes_of(roles), tenant_role=tenant_role)


def headers(user: int = 1, **more: Any) -> dict[str, str]:
    return headers_for(principal(user, **more), NAME)


def admin() -> dict[str, str]:
    """Made for each call: it is good for half a minute."""
    return headers(99, roles=("admin",))


@pytest.fixture(scope="module")
def told_url(servers: Servers) -> Iterator[str]:
    """Of a database that all tests here read, and none changes."""
    with partitioned_database(servers, TODAY.date()) as url:
        asyncio.run(tell(url))
        asyncio.run(hear_nothing(servers.nats_url))
        yield url


async def hear_nothing(nats_url: str) -> None:
    """What gateways of other tests have told of is for none of these."""
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        with suppress(NotFoundError):
            await bus.jetstream.purge_stream(USAGE_STREAM)


async def tell(url: str) -> None:
    async with usage_store(url, TODAY) as store:
        await store.take(ASKED, lost=(7, 5))


@pytest.fixture
def settings(told_url: str, redis_url: str, nats_url: str) -> Settings:
    return Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        database_url=SecretStr(told_url),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings)) as client:
        yield client


async def get(client: httpx.AsyncClient, path: str, headers: dict[str, str], **query: Any) -> dict[str, Any]:
    answer = await client.get(path, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def table(client: httpx.AsyncClient, path: str, headers: dict[str, str], **query: Any) -> list[dict[str, str]]:
    answer = await client.get(path, headers=headers, params={**query, "format": "csv"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(io.StringIO(answer.text)))


def picked(rows: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


# ----- history


async def test_a_caller_sees_their_own_by_day_and_endpoint(client: httpx.AsyncClient) -> None:
    document = await get(client, HISTORY, headers())
    assert (document["of"], document["grain"], document["by"], document["next_cursor"]) == ("me", "day", "endpoint", None)
    assert document["end_date"] == f"{system_clock():%Y-%m-%d}"
    names = ("at", "endpoint", "requests", "units", "succeeded", "rate_limited", "client_errors", "server_errors", "cache_hits")
    yesterday, today = (f"{at:%Y-%m-%d}T00:00:00+00:00" for at in (YESTERDAY, TODAY))
    assert picked(document["data"], *names) == [
        (yesterday, "/api/v1/bars/{symbol}", 3, 3, 3, 0, 0, 0, 3),
        (today, "/api/v1/bars/{symbol}", 3, 2, 2, 1, 0, 0, 0),
        (today, INDICATOR, 3, 9, 2, 0, 0, 1, 0),
    ]
    assert document["data"][0]["mean_ms"] == 0.1
    assert document["data"][0]["bytes_out"] == 300


async def test_by_key_each_key_has_its_rows_and_one_may_be_asked_for(client: httpx.AsyncClient) -> None:
    document = await get(client, HISTORY, headers(), by="key", start_date=f"{TODAY:%Y-%m-%d}")
    assert picked(document["data"], "key_id", "requests") == [
        (str(NOBODY), 1),
        (str(key_id(1)), 3),
        (str(key_id(2)), 2),
    ]
    document = await get(client, HISTORY, headers(), key_id=str(key_id(2)))
    assert picked(document["data"], "endpoint", "requests", "units") == [(INDICATOR, 2, 8)]
    document = await get(client, HISTORY, headers(), key_id=str(key_id(3)))
    assert document["data"] == [], "another user's"


async def test_a_tenants_admin_sees_all_its_members_and_a_member_only_themselves(client: httpx.AsyncClient) -> None:
    for role in ("owner", "admin"):
        document = await get(client, HISTORY, headers(3, tenant_role=role), of="tenant", by="user")
        of_users = {1: 0, 2: 0}
        for row in document["data"]:
            of_users[next(user for user in of_users if str(user_id(user)) == row["user_id"])] += row["requests"]
        assert of_users == {1: 9, 2: 5}
    refused = await client.get(HISTORY, params={"of": "tenant"}, headers=headers(1))
    assert (refused.status_code, refused.json()["detail"]) == (403, "only a tenant's owners and admins see its history")
    assert (await get(client, HISTORY, headers(24, tenant_role="owner"), of="tenant"))["data"][0]["requests"] == 7


async def test_pages_hold_every_row_once_in_json_and_csv(client: httpx.AsyncClient) -> None:
    whole = (await get(client, HISTORY, headers()))["data"]
    for limit in (1, 2):
        rows, cursor = [], None
        while True:
            query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            document = await get(client, HISTORY, headers(), **query)
            rows += document["data"]
            cursor = document["next_cursor"]
            if cursor is None:
                break
        assert rows == whole
    first = await client.get(HISTORY, params={"limit": 2, "format": "csv"}, headers=headers())
    following = first.headers["link"].removeprefix("<").partition(">")[0]
    last = await client.get(following, headers=headers())
    assert "link" not in last.headers
    lines = [*csv.DictReader(io.StringIO(first.text)), *csv.DictReader(io.StringIO(last.text))]
    assert [(line["at"], line["endpoint"], int(line["requests"])) for line in lines] == picked(
        whole, "at", "endpoint", "requests"
    )
    by_accept = await client.get(HISTORY, headers={**headers(), "Accept": "text/csv"})
    assert by_accept.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
async def test_by_whatever_grain_the_sum_is_the_same(client: httpx.AsyncClient, grain: str) -> None:
    document = await get(client, HISTORY, headers(), grain=grain, start_date=f"{TODAY:%Y-%m-%d}", end_date=f"{TODAY:%Y-%m-%d}")
    assert sum(row["requests"] for row in document["data"]) == 6
    assert sum(row["units"] for row in document["data"]) == 11


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"grain": "second"}, "grain"),
        ({"by": "user"}, "by"),
        ({"start_date": "2026-02-30"}, "start_date"),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date"),
        ({"start_date": "2001-01-01"}, "start_date"),
        ({"start_date": "0001-01-01"}, "start_date"),
        ({"end_date": "9999-12-31"}, "end_date"),
        ({"end_date": "0001-01-01"}, "end_date"),
        ({"grain": "minute", "start_date": f"{YESTERDAY:%Y-%m-%d}"}, "start_date"),
        ({"key_id": "mine"}, "key_id"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "W10"}, "cursor"),
        ({"format": "xml"}, "format"),
        ({"who": "me"}, "who"),
    ],
    ids=str,
)
async def test_an_unfit_question_is_refused_by_name(client: httpx.AsyncClient, query: dict[str, str], field: str) -> None:
    answer = await client.get(HISTORY, params=query, headers=headers())
    assert answer.status_code == 422, answer.text
    assert field in {error["loc"][-1] for error in answer.json()["errors"]}


async def test_a_cursor_is_of_its_own_question_alone_and_no_made_up_one_is_an_error_of_ours(client: httpx.AsyncClient) -> None:
    cursor = (await get(client, HISTORY, headers(), limit=1))["next_cursor"]
    for query, who in (({"by": "key"}, 1), ({}, 2), ({"grain": "hour"}, 1)):
        answer = await client.get(HISTORY, params={**query, "cursor": cursor}, headers=headers(who))
        assert answer.status_code == 422


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(-(10**18), 10**18), st.booleans())
def test_whatever_is_in_a_cursor_it_is_read_or_refused(name: str, at: int, ids: bool) -> None:
    moment = datetime.fromtimestamp(at % 10**10, TODAY.tzinfo)
    try:
        found = decode("question", encode("question", moment, [name]), 1, ids=ids)
    except InvalidInput:
        assert ids or "\0" in name
    else:
        assert found == (moment.replace(microsecond=0), [name])


# ----- analytics


async def test_the_overview_is_everybodys_with_what_was_lost(client: httpx.AsyncClient) -> None:
    document = await get(client, f"{ANALYTICS}/overview", admin())
    counts = ("requests", "units", "succeeded", "rate_limited", "client_errors", "server_errors", "cache_hits")
    assert picked([document["totals"]], *counts) == [(22, 26, 19, 1, 1, 1, 3)]
    assert picked([document], "tenants", "users", "keys", "lost_events", "lost_units") == [(2, 3, 4, 7, 5)]
    assert picked(document["data"], "requests") == [(10,), (12,)]
    assert document["totals"]["p50_ms"] == pytest.approx(1.0, rel=ERROR)
    assert document["totals"]["p99_ms"] == pytest.approx(2.0, rel=ERROR)
    rows = await table(client, f"{ANALYTICS}/overview", admin(), grain="hour")
    assert [int(row["requests"]) for row in rows] == [10, 12]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("tenant", [(str(tenant_id(1)), 14, 19, 2), (str(tenant_id(25)), 7, 7, 0)]),
        ("user", [(str(user_id(1)), 9, 14, 2), (str(user_id(25)), 7, 7, 0), (str(user_id(2)), 5, 5, 0)]),
        ("key", [(str(key_id(4)), 7, 7, 0), (str(key_id(1)), 6, 5, 1), (str(key_id(3)), 5, 5, 0), (str(key_id(2)), 2, 8, 0)]),
        ("endpoint", [("GET /api/v1/bars/{symbol}", 19, 17, 2), (f"GET {INDICATOR}", 3, 9, 1)]),
        ("indicator", [("rsi", 2, 8, 0), ("sma", 1, 1, 1)]),
        ("symbol", [("AAPL", 19, 18, 2), ("MSFT", 2, 8, 0)]),
    ],
)
async def test_the_top_of_each_is_in_order(client: httpx.AsyncClient, by: str, expected: list[tuple[Any, ...]]) -> None:
    document = await get(client, f"{ANALYTICS}/top", admin(), by=by)
    assert picked(document["data"], "name", "requests", "units", "failed") == expected
    rows = await table(client, f"{ANALYTICS}/top", admin(), by=by, limit=1, order="units")
    assert int(rows[0]["units"]) == max(row[2] for row in expected)


async def test_latencies_are_within_their_error(client: httpx.AsyncClient) -> None:
    rows = {row["name"]: row for row in (await get(client, f"{ANALYTICS}/latency", admin(), by="cache"))["data"]}
    assert rows["hit"]["requests"] == 3
    assert rows["hit"]["p99_ms"] == pytest.approx(0.1, rel=ERROR)
    assert rows["hit"]["mean_ms"] == 0.1
    assert rows["miss"]["p50_ms"] == pytest.approx(1.0, rel=ERROR)
    for by, names in (("status", {"200", "401", "429", "503"}), ("tier", {"pro", "free", ""})):
        assert {row["name"] for row in await table(client, f"{ANALYTICS}/latency", admin(), by=by)} == names


async def test_errors_are_counted_and_the_newest_can_be_found_again(client: httpx.AsyncClient) -> None:
    document = await get(client, f"{ANALYTICS}/errors", admin())
    assert picked(document["data"], "status", "requests") == [(401, 1), (429, 1), (503, 1)]
    assert sum(row["share"] for row in document["data"]) == pytest.approx(1)
    assert picked(document["newest"], "status", "request_id") == [(401, "r"), (503, "broken"), (429, "r")]


async def test_growth_says_who_is_new(client: httpx.AsyncClient) -> None:
    document = await get(client, f"{ANALYTICS}/growth", admin())
    assert picked(document["data"], "requests", "tenants", "users", "new_users", "change") == [
        (10, 2, 2, 2, None),
        (12, 1, 2, 1, 0.2),
    ]
    assert sum(int(row["requests"]) for row in await table(client, f"{ANALYTICS}/growth", admin(), step="month")) == 22


@pytest.mark.parametrize("name", ["overview", "top", "latency", "errors", "growth"])
async def test_analytics_are_administrators_alone_and_answer_when_there_is_nothing(client: httpx.AsyncClient, name: str) -> None:
    for who in (headers(1), headers(1, tenant_role="owner")):
        assert (await client.get(f"{ANALYTICS}/{name}", headers=who)).status_code == 403
    assert (await client.get(f"{ANALYTICS}/{name}")).status_code == 401
    document = await get(client, f"{ANALYTICS}/{name}", admin(), start_date="2020-01-01", end_date="2020-01-02")
    assert document["data"] == []
    assert await table(client, f"{ANALYTICS}/{name}", admin(), start_date="2020-01-01", end_date="2020-01-02") == []
    answer = await client.get(f"{ANALYTICS}/{name}", headers=admin(), params={"start_date": "2001-01-01"})
    assert answer.status_code == 422


# ----- a read replica


async def test_history_and_analytics_come_from_the_replica(settings: Settings, database_url: str) -> None:
    """One that lags for ever: another database, in which nothing was counted yet."""
    behind = settings.model_copy(update={"replica_url": SecretStr(database_url)})
    async with running(create_app(behind)) as client:
        for path, who in ((HISTORY, headers(1)), *((f"{ANALYTICS}/{name}", admin()) for name in ("overview", "top", "growth"))):
            assert (await get(client, path, who))["data"] == [], path
        assert (await client.get("/health")).json()["dependencies"]["replica"] == "ok"


async def test_without_an_answer_of_the_replica_the_primary_is_read(settings: Settings) -> None:
    away = settings.model_copy(update={"replica_url": SecretStr("postgresql://u:p@127.0.0.1:1/x")})
    async with running(create_app(away)) as client:
        for path, who in ((HISTORY, headers(1)), (f"{ANALYTICS}/overview", admin())):
            assert (await get(client, path, who))["data"], path
        health = await client.get("/health")
        assert (health.status_code, health.json()["dependencies"]["replica"]) == (200, "failed (ConnectionRefusedError)")


def test_a_change_is_to_the_row_before() -> None:
    assert [row["change"] for row in changes([{"requests": n} for n in (0, 4, 6, 3)])] == [None, None, 0.5, -0.5]


def test_a_window_ends_today_and_is_as_long_as_its_grain_has_it() -> None:
    today = date(2026, 3, 14)
    assert window_of(None, None, "day", today).first == date(2026, 2, 13)
    assert window_of(None, None, "minute", today).first == today
    assert window_of(today, None, "hour", today).start.isoformat() == "2026-03-14T00:00:00+00:00"
