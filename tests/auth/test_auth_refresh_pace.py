"""A session is refreshed so often a minute, and nobody who holds no token of it has a say in that."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.errors import TooManyRefreshes
from auth_service.domain.refreshing import paced
from tests.auth.auth_world import Person, World, running_world, settings_of
from tests.auth.test_auth_throttling import statements

MOST = 5
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def world(database_url: str, nats_url: str) -> AsyncIterator[World]:
    """In which a session is refreshed five times a minute, one each twelve seconds."""
    async with running_world(settings_of(database_url, nats_url, refreshes_per_minute=MOST)) as world:
        yield world


async def use_up(world: World, token: str) -> str:
    """The newest token of a session that may not be refreshed again just now."""
    for _ in range(MOST):
        token = await refreshed(world, token)
    return token


async def refreshed(world: World, token: str) -> str:
    answer = await world.refresh(token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refresh_token"])


def refusal(answer: httpx.Response) -> tuple[int, str, list[str]]:
    assert answer.status_code == 429, answer.text
    return answer.status_code, answer.headers["retry-after"], answer.json()["violated-policies"]


async def test_beyond_that_it_waits_as_long_as_it_is_told_and_its_token_is_not_spent(world: World, member: Person) -> None:
    token = await use_up(world, member.refresh_token)
    for seconds in ("12", "11"):  # who asks during the wait does not make it longer
        assert refusal(await world.refresh(token)) == (429, seconds, ["session"])
        world.clock.forward(seconds=1)
    world.clock.forward(seconds=10)
    token = await refreshed(world, token)
    assert refusal(await world.refresh(token))[1] == "12"


async def test_slower_than_that_it_is_never_held_up(world: World, member: Person) -> None:
    token = member.refresh_token
    for _ in range(4 * MOST):
        token = await refreshed(world, token)
        world.clock.forward(seconds=12)


async def test_asking_again_for_a_lost_answer_does_not_wait_for_whoever_does_would_pass_for_a_thief(
    world: World, member: Person
) -> None:
    spent, last = "", member.refresh_token
    for _ in range(MOST):
        spent, last = last, await refreshed(world, last)
    for _ in range(2 * MOST):  # as many tabs do at once
        assert await refreshed(world, spent) == last
    assert refusal(await world.refresh(last))[1] == "12", "it has used nothing up, nor given anything back"


async def test_a_thief_who_refreshes_as_fast_as_he_may_does_not_hide_behind_the_bound(world: World, member: Person) -> None:
    stolen = await use_up(world, member.refresh_token)
    assert refusal(await world.refresh(stolen))
    answer = await world.refresh(member.refresh_token)
    assert answer.status_code == 401, "the owner's token is spent, and says so"
    assert (await world.refresh(stolen)).status_code == 401
    assert not await world.is_alive(member.tokens["access_token"])


async def test_neither_strangers_nor_other_sessions_use_it_up_and_it_holds_up_nothing_else(world: World, member: Person) -> None:
    other = (await world.try_login(member.name)).json()
    for token in ("nonsense", "", member.refresh_token[:-1]):
        for _ in range(2 * MOST):
            assert (await world.refresh(token)).status_code == 401
    newest = await use_up(world, member.refresh_token)
    assert refusal(await world.refresh(newest))
    assert await world.is_alive(member.tokens["access_token"])
    assert (await world.try_login(member.name)).status_code == 200
    await use_up(world, other["refresh_token"])
    out = await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": newest})
    assert out.status_code == 204


async def test_a_refusal_writes_nothing(world: World, member: Person) -> None:
    token = await use_up(world, member.refresh_token)
    with statements() as sent:
        assert refusal(await world.refresh(token))
    assert sent
    assert not [one for one in sent if one.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))]


async def test_it_is_counted_across_processes(database_url: str, nats_url: str) -> None:
    settings = settings_of(database_url, nats_url, refreshes_per_minute=MOST)
    async with running_world(settings) as one, running_world(settings) as two:
        two.clock.now = one.clock.now
        token = (await one.member()).refresh_token
        for world in (one, two, one, two, one):
            token = await refreshed(world, token)
        assert [refusal(await world.refresh(token))[1] for world in (one, two)] == ["12", "12"]


@given(st.integers(1, 200), st.lists(st.floats(0, 40), min_size=1, max_size=60))
def test_in_no_stretch_of_time_are_there_more_than_at_once_and_at_the_pace(per_minute: int, pauses: list[float]) -> None:
    granted, due_at, now = [], None, NOW
    for pause in pauses:
        now += timedelta(seconds=pause)
        try:
            due_at = paced(due_at, now, per_minute)
        except TooManyRefreshes as refused:
            later = now + timedelta(seconds=refused.retry_after_s)
            assert paced(due_at, later, per_minute) > later, "who waits as long as told is let in"
        else:
            granted.append(now)
    for first, last in combinations_with_replacement(range(len(granted)), 2):
        assert last - first + 1 <= per_minute * (1 + (granted[last] - granted[first]) / MINUTE) + 1e-3


@given(st.integers(1, 200))
def test_as_many_come_at_once_as_there_are_in_a_minute(per_minute: int) -> None:
    due_at = None
    for _ in range(per_minute):
        due_at = paced(due_at, NOW, per_minute)
    with pytest.raises(TooManyRefreshes):
        paced(due_at, NOW, per_minute)
