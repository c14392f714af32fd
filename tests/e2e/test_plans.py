"""Plans and limits as an operator changes them with `kalpi`, and what a client of the gateway sees of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from typer import Typer
from typer.testing import CliRunner

from ratelimit_service.cli import limits, plans
from tests.e2e.conftest import Account
from tests.support.poll import until
from tests.support.stack import Stack

SYMBOLS = "/api/v1/symbols"
Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(stack: Stack) -> Run:
    async def run(app: Typer, *words: str) -> str:
        environment = {"KALPI_URL": stack.url, "KALPI_ADMIN_KEY": stack.key("admin")["X-API-Key"]}
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        assert done.exit_code == 0, done.output
        return done.output

    return run


async def policies(client: httpx.AsyncClient, account: Account) -> str:
    answer = await client.get(SYMBOLS, headers=account.token)
    return str(answer.headers["ratelimit-policy"])


async def test_a_tenant_has_other_limits_until_they_are_taken_back(
    client: httpx.AsyncClient, free_account: Account, run: Run, tmp_path: Path
) -> None:
    me = (await client.get("/api/v1/auth/me", headers=free_account.token)).json()
    file = tmp_path / "limits.json"
    file.write_text(json.dumps({"limits": {"day": 4321}}))
    assert '"day";q=50' in await policies(client, free_account)
    await run(limits.app, "override", me["tenant_id"], str(file), "--reason", "a trial")

    async def counts() -> bool:
        return '"day";q=4321' in await policies(client, free_account)

    await until(counts, every_s=0.3, what="the override at the gateway")

    async def is_shown() -> bool:
        shown = await run(limits.app, "show", me["username"])
        return "a trial" in shown and [line.split()[1] for line in shown.splitlines() if line.startswith("day ")] == ["4321"]

    await until(is_shown, every_s=0.3, what="the override at ratelimit-service")
    await run(limits.app, "reset", "user", me["username"], "--reason", "our mistake")
    used = [line.split()[2] for line in (await run(limits.app, "show", me["username"])).splitlines() if line.startswith("day ")]
    assert used == ["0"]
    await run(limits.app, "override", me["tenant_id"], "--remove", "--reason", "over")

    async def is_over() -> bool:
        return '"day";q=50' in await policies(client, free_account)

    await until(is_over, every_s=0.3, what="the tier's limits at the gateway")


async def test_plans_are_published_and_restored(
    client: httpx.AsyncClient, free_account: Account, run: Run, tmp_path: Path
) -> None:
    before = await run(plans.app, "show", "--text")
    newest = json.loads(await run(plans.app, "history", "--json", "--limit", "1"))["version"]
    file = tmp_path / "plans.yaml"
    file.write_text(before.replace("day: 50\n", "day: 51\n"))
    try:
        assert "50 -> 51" in await run(plans.app, "publish", str(file), "--reason", "one more")

        async def counts() -> bool:
            return '"day";q=51' in await policies(client, free_account)

        await until(counts, every_s=0.3, what="the plans at the gateway")
    finally:
        await run(plans.app, "rollback", str(newest))
    assert await run(plans.app, "show", "--text") == before


async def test_a_decision_is_asked_for_with_an_administrators_key(client: httpx.AsyncClient, stack: Stack) -> None:
    question = {"subject": "reports/e2e", "policies": [{"name": "once", "kind": "day", "quota": 1}]}
    answers = [await client.post("/api/v1/check", json=question, headers=stack.key("admin")) for _ in range(2)]
    assert [answer.json()["admitted"] for answer in answers] == [True, False]
    refused = await client.post("/api/v1/check", json=question, headers=stack.key("pro"))
    assert (refused.status_code, refused.json()["required_scope"]) == (403, "admin")
