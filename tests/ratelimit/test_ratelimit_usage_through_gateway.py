"""Requests of known kinds through a gateway are found, to the number, in the caller's history and in the analytics."""

from collections import Counter
from typing import Any

import httpx

from gateway.app import create_app as create_gateway
from ratelimit_service.app import create_app
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS, BARS_SUBJECTS, MARKET_STREAM
from tests.gateway.conftest import Origin, settings_for
from tests.ratelimit.conftest import MakeSettings
from tests.support.http_server import serving
from tests.support.poll import until

HISTORY = "/api/v1/usage/history"
SYMBOL = f"T{new_id().hex[:12].upper()}"
KINDS = (
    (f"/api/v1/bars/{SYMBOL}", "/api/v1/bars/{symbol}", 1),
    (f"/api/v1/indicators/sma?symbol={SYMBOL}", "/api/v1/indicators/{name}", 1),
    ("/api/v1/usage", "/api/v1/usage", 0),
    ("/api/v1/admin/users", "/api/v1/admin", 0),  # forbidden: the key lacks the scope
)


async def test_every_request_is_counted_once_and_as_what_it_was(settings_of: MakeSettings, redis_url: str, nats_url: str) -> None:
    origin = Origin()
    scopes = ("bars:read", "indicators:read")
    key, person = origin.new_person("pro", scopes=scopes)
    same = {name: person[name] for name in ("user_id", "tenant_id")}
    session, _ = origin.new_person("pro", scopes=scopes, **same, key_id=None)
    admin, _ = origin.new_person("enterprise", roles=("admin",))
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        await bus.streams.declare(MARKET_STREAM, [BARS_SUBJECTS], max_age_s=0, max_bytes=64 << 20, max_msgs_per_subject=1)
        await bus.streams.declare(AUTH_STREAM, [AUTH_SUBJECTS], max_age_s=3600, max_bytes=64 << 20)
        async with (
            serving(origin) as origin_url,
            serving(create_app(settings_of())) as limits_url,
            serving(create_gateway(settings_for(origin_url, redis_url, nats_url, ratelimit_urls=(limits_url,)))) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
        ):
            asked: Counter[tuple[str, int]] = Counter()
            units = 0
            for path, endpoint, cost in KINDS * 12:
                answer = await client.get(path, headers=key)
                asked[endpoint, answer.status_code] += 1
                units += cost if answer.status_code == 200 else 0
            total = asked.total()

            async def counted() -> list[dict[str, Any]]:
                told = await client.get(HISTORY, params={"key_id": person["key_id"]}, headers=session)
                rows: list[dict[str, Any]] = told.json()["data"]
                return rows if sum(row["requests"] for row in rows) == total else []

            rows = await until(counted, seconds=60, every_s=0.3, what=f"{total} requests in the history")
            found = {row["endpoint"]: (row["succeeded"], row["rate_limited"], row["client_errors"]) for row in rows}
            assert found == {
                endpoint: (asked[endpoint, 200], asked[endpoint, 429], asked[endpoint, 403]) for _, endpoint, _ in KINDS
            }
            assert sum(row["units"] for row in rows) == units

            async def top(by: str) -> dict[str, dict[str, Any]]:
                answer = await client.get("/api/v1/analytics/top", params={"by": by, "limit": 200}, headers=admin)
                return {row["name"]: row for row in answer.json()["data"]}

            failed = total - sum(number for (_, status), number in asked.items() if status == 200)
            expected = {"name": person["key_id"], "requests": total, "units": units, "failed": failed}
            assert (await top("key"))[person["key_id"]] == expected
            assert (await top("symbol"))[SYMBOL]["requests"] == 24
            assert (await client.get("/api/v1/analytics/top", headers=key)).status_code == 403
