"""Large work is done one at a time, and no account's many keep the others from theirs."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from indicator_service.app import NAME
from indicator_service.domain.errors import WaitsAlready
from indicator_service.domain.turns import Turns
from shared.errors import Unavailable
from tests.support.poll import until
from tests.support.principals import headers_for, user

SCREENER = "/api/v1/screener"


async def has_its_turn(turns: Turns, account: str, begun: list[str], ends: asyncio.Event) -> None:
    async with turns.of(account, 30):
        begun.append(account)
        await ends.wait()


async def test_of_one_account_one_waits_beside_the_one_it_has_and_others_come_in_order() -> None:
    turns, begun, ends = Turns(), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for account in ("ann", "ann", "bob"):
            group.create_task(has_its_turn(turns, account, begun, ends))
            await asyncio.sleep(0)
        for account in ("ann", "bob"):
            with pytest.raises(WaitsAlready):
                await has_its_turn(turns, account, begun, ends)
        assert begun == ["ann"]
        ends.set()
    assert begun == ["ann", "ann", "bob"]


async def test_who_gave_up_waiting_may_wait_again() -> None:
    turns = Turns()
    async with AsyncExitStack() as held:
        await held.enter_async_context(turns.of("bob", 0.01))
        for _ in range(2):
            with pytest.raises(Unavailable):
                await held.enter_async_context(turns.of("ann", 0.01))
        waiting = asyncio.create_task(has_its_turn(turns, "ann", [], asyncio.Event()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        with pytest.raises(Unavailable):
            await held.enter_async_context(turns.of("ann", 0.01))
    async with turns.of("ann", 0.01):
        pass


async def test_the_second_screen_of_an_account_that_would_wait_is_refused_at_once_and_others_wait(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    async def screened(person: dict[str, str], least: int) -> httpx.Response:
        # each another screen: equal ones are computed once
        return await client.post(SCREENER, json={"expression": f"close > {least}"}, headers=person)

    ann, bob = headers_for(user("premium"), NAME), headers_for(user("premium"), NAME)
    turns: Turns = app.state.large

    async def both_wait() -> bool:
        return len(turns.waiting) == 2

    async with turns.of("another", 0.0):
        waiting = [asyncio.create_task(screened(ann, 1)), asyncio.create_task(screened(bob, 2))]
        await until(both_wait)
        refused = await screened(ann, 3)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["violated-policies"] == ["turn"]
    assert [(await answer).status_code for answer in waiting] == [200, 200]
