"""The limit is one limit, however many gateways enforce it."""

import asyncio
from collections import Counter

import aiohttp

from tests.machine.conftest import Machine
from tests.support.poll import until

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

        async def ask() -> tuple[int, tuple[str, ...]] | None:
            async with session.get(url) as answer:
                body = await answer.json(content_type=None)
                # a busy machine's gateway may say "not now" before it counts anything: then it is asked again
                return None if answer.status == 503 else (answer.status, tuple(body.get("violated-policies", ())))

        async def ask_patiently() -> tuple[int, tuple[str, ...]] | None:
            return await until(ask, every_s=0.5)

        answers = await asyncio.gather(*(ask_patiently() for _ in range(REQUESTS)))
    assert Counter(answers) == {(200, ()): LIMIT, (429, ("day",)): REQUESTS - LIMIT}
    for name in gateways:
        assert '"status":200' in (stack.home / "logs" / f"{name}.log").read_text(), f"{name} took part"
