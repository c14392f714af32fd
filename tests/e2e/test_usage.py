"""What was asked through the gateway is found again, to the number: in the caller's history, by key, and in the analytics."""

from collections import Counter
from typing import Any

import httpx

from tests.e2e.conftest import Account
from tests.support.poll import until
from tests.support.stack import Stack

HISTORY = "/api/v1/usage/history"
KINDS = (
    ("/api/v1/bars/AAPL?limit=1", "/api/v1/bars/{symbol}"),
    ("/api/v1/indicators/sma?symbol=AAPL&time_period=3&limit=1", "/api/v1/indicators/{name}"),
    ("/api/v1/indicators/rsi?symbol=AAPL&limit=1", "/api/v1/indicators/{name}"),
    ("/api/v1/bars/NO.SUCH.SYMBOL", "/api/v1/bars/{symbol}"),
    ("/api/v1/bars/AAPL?nonsense=1", "/api/v1/bars/{symbol}"),
    ("/api/v1/usage", "/api/v1/usage"),
    ("/api/v1/admin/users", "/api/v1/admin"),
)
COUNTS = ("succeeded", "rate_limited", "client_errors", "server_errors")


def kind_of(status: int) -> str:
    if status == 429:
        return "rate_limited"
    return "succeeded" if status < 400 else "client_errors" if status < 500 else "server_errors"


async def test_every_request_is_counted_once_and_as_what_it_was(
    client: httpx.AsyncClient, free_account: Account, stack: Stack
) -> None:
    asked: dict[str, Counter[str]] = {endpoint: Counter() for _, endpoint in KINDS}
    units = 0
    for path, endpoint in KINDS * 6:
        answer = await client.get(path, headers=free_account.key)
        asked[endpoint][kind_of(answer.status_code)] += 1
        # a data call that was admitted says what is left, and costs one whatever becomes of it
        units += '"day"' in answer.headers.get("ratelimit", "") and answer.status_code != 429
    assert {kind for counts in asked.values() for kind in counts} >= {"succeeded", "client_errors"}
    total = sum(map(Counter.total, asked.values()))

    async def counted() -> list[dict[str, Any]]:
        query = {"key_id": free_account.key_id}
        rows: list[dict[str, Any]] = (await client.get(HISTORY, params=query, headers=free_account.token)).json()["data"]
        return rows if sum(row["requests"] for row in rows) == total else []

    rows = await until(counted, seconds=30, what=f"{total} requests in the history")
    assert {row["endpoint"]: Counter({name: row[name] for name in COUNTS if row[name]}) for row in rows} == asked
    assert sum(row["units"] for row in rows) == units

    day = next(
        one for one in (await client.get("/api/v1/usage", headers=free_account.token)).json()["policies"] if one["name"] == "day"
    )
    assert day["used"] == units, "the counters say the same"

    by_key = (await client.get(HISTORY, params={"by": "key"}, headers=free_account.token)).json()["data"]
    assert next(row for row in by_key if row["key_id"] == free_account.key_id)["requests"] == total

    top = await client.get("/api/v1/analytics/top", params={"by": "key", "limit": 200}, headers=stack.key("admin"))
    row = next(row for row in top.json()["data"] if row["name"] == free_account.key_id)
    failed = total - sum(counts["succeeded"] for counts in asked.values())
    assert row == {"name": free_account.key_id, "requests": total, "units": units, "failed": failed}


async def test_analytics_are_not_for_who_is_no_administrator(
    client: httpx.AsyncClient, free_account: Account, stack: Stack
) -> None:
    for headers in (free_account.key, free_account.token, stack.key("enterprise")):
        assert (await client.get("/api/v1/analytics/overview", headers=headers)).status_code == 403
    for name in ("overview", "top", "latency", "errors", "growth"):
        answer = await client.get(f"/api/v1/analytics/{name}?format=csv", headers=stack.key("admin"))
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/csv"), answer.text
