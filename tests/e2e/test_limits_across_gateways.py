"""The limit is one limit, however many gateways enforce it."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.stack import Stack, running_stack

LIMIT = 400
REQUESTS = 1000
DAY_ONLY = f"""
anonymous_ip: {{quota: 1000}}
tiers:
  free: &all
    limits: {{day: {LIMIT}}}
    entitlements: {{indicators: all, batch_series: 5}}
  pro: *all
  premium: *all
  enterprise: *all
"""


@pytest.fixture
def two_gateways() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="kalpi-e2e-") as name:
        plans = Path(name) / "plans.yaml"
        plans.write_text(DAY_ONLY)
        with running_stack(Path(name), {"RATELIMIT_PLANS_PATH": str(plans), "KALPI_GATEWAY_WORKERS": "2"}) as stack:
            yield stack


async def test_a_thousand_at_once_through_two_gateways_admit_exactly_the_limit(two_gateways: Stack) -> None:
    stack = two_gateways
    gateways = [name for name in stack.state["services"] if name.startswith("gateway")]
    assert len(gateways) == 2
    url = f"{stack.url}/api/v1/indicators/sma?symbol=AAPL&limit=5"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=stack.key("pro")) as session:

        async def ask() -> tuple[int, list[str]]:
            async with session.get(url) as answer:
                body = await answer.json(content_type=None)
                return answer.status, body.get("violated-policies", [])

        answers = await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    assert answers.count((200, [])) == LIMIT
    assert answers.count((429, ["day"])) == REQUESTS - LIMIT
    for name in gateways:
        assert '"status":200' in (stack.home / "logs" / f"{name}.log").read_text(), f"{name} took part"
