"""The limit is one limit, however many gateways enforce it."""

import asyncio

import aiohttp

from tests.e2e.conftest import Machine

LIMIT = 400
"""Of an enterprise user of the machine, a day."""
REQUESTS = 1000


async def test_a_thousand_at_once_through_two_gateways_admit_exactly_the_limit(machine: Machine) -> None:
    stack = machine.up()
    gateways = [name for name in stack.state["services"] if name.startswith("gateway")]
    assert len(gateways) == 2
    url = f"{stack.url}/api/v1/indicators/sma?symbol=AAPL&limit=5"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=stack.key("enterprise")) as session:

        async def ask() -> tuple[int, list[str]]:
            async with session.get(url) as answer:
                body = await answer.json(content_type=None)
                return answer.status, body.get("violated-policies", [])

        answers = await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    assert answers.count((200, [])) == LIMIT
    assert answers.count((429, ["day"])) == REQUESTS - LIMIT
    for name in gateways:
        assert '"status":200' in (stack.home / "logs" / f"{name}.log").read_text(), f"{name} took part"
