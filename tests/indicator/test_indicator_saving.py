"""Users' own indicators in the real Postgres: names, owners, versions, bounds, and many who change them at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from indicator_service.adapters.custom import PostgresCustomIndicators
from indicator_service.domain.custom import Draft, OwnParameter
from indicator_service.domain.errors import NameTaken, NoSuchCustomIndicator, TooManyCustomIndicators
from indicator_service.domain.saving import MOST_INDICATORS, MOST_VERSIONS, CustomIndicators
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.ids import new_id
from shared.postgres import open_engine
from tests.support.poll import until

DRAFT = Draft("", "close", ())
LENGTH = OwnParameter("length", "int", 14, 2, 500)
FACTOR = OwnParameter("factor", "float", 2.0, -1e22, 1e22)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresCustomIndicators]:
    async with PostgresCustomIndicators(
        open_engine(database_url, service="test", pool_size=5, command_timeout_s=5), within_s=5
    ) as store:
        yield store


@pytest.fixture
def saved(store: PostgresCustomIndicators) -> CustomIndicators:
    return CustomIndicators(store, clock=system_clock, new_id=new_id)


@pytest.fixture
def owner() -> UUID:
    return new_id()


async def test_what_is_saved_is_what_is_found(saved: CustomIndicators, owner: UUID) -> None:
    draft = Draft("a “band”; DROP TABLE 'x'\\", "close * factor", (LENGTH, FACTOR))
    created = await saved.create(owner, "band", draft)
    assert await saved.get(owner, "band") == (created, [created.version])
    assert list(await saved.named(owner, ["band", "nothing"])) == [created]
    assert list(await saved.page(owner)) == [created]
    kept = created.version.parameters
    assert [[type(value) for value in (p.default, p.minimum, p.maximum)] for p in kept] == [[int] * 3, [float] * 3]


async def test_nobody_else_sees_changes_or_deletes_it_and_each_may_have_the_name(saved: CustomIndicators, owner: UUID) -> None:
    await saved.create(owner, "mine", DRAFT)
    others = [new_id() for _ in range(2)]
    for other in others:
        assert not await saved.named(other, ["mine"])
        assert not await saved.page(other)
        for attempt in (saved.get(other, "mine"), saved.change(other, "mine", DRAFT), saved.delete(other, "mine")):
            with pytest.raises(NoSuchCustomIndicator):
                await attempt
    for other in others:
        await saved.create(other, "mine", replace(DRAFT, expression="open"))
        await saved.delete(other, "mine")
    assert (await saved.get(owner, "mine"))[0].version.expression == "close"


async def test_a_name_created_many_times_at_once_is_created_once(saved: CustomIndicators, owner: UUID) -> None:
    outcomes = await asyncio.gather(*(saved.create(owner, "one", DRAFT) for _ in range(8)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CustomIndicator", *["NameTaken"] * 7]
    with pytest.raises(NameTaken):
        await saved.create(owner, "one", DRAFT)


async def test_a_change_is_a_new_version_and_the_ones_before_can_be_read(saved: CustomIndicators, owner: UUID) -> None:
    first = await saved.create(owner, "mine", DRAFT)
    second = await saved.change(owner, "mine", Draft("later", "open", (LENGTH,)))
    assert (second.version.number, second.description, second.created_at) == (2, "later", first.created_at)
    assert second.updated_at >= first.updated_at
    assert await saved.get(owner, "mine") == (second, [second.version, first.version])
    before, _ = await saved.get(owner, "mine", 1)
    assert before.version == first.version
    with pytest.raises(NoSuchCustomIndicator, match="no version 3"):
        await saved.get(owner, "mine", 3)


async def test_changes_at_once_are_versions_one_after_the_other(saved: CustomIndicators, owner: UUID) -> None:
    await saved.create(owner, "mine", DRAFT)
    changed = await asyncio.gather(*(saved.change(owner, "mine", replace(DRAFT, expression=f"close + {i}")) for i in range(8)))
    assert sorted(indicator.version.number for indicator in changed) == list(range(2, 10))
    newest, versions = await saved.get(owner, "mine")
    assert [version.number for version in versions] == list(range(9, 0, -1))
    assert newest.version in [indicator.version for indicator in changed]


async def test_what_is_deleted_while_it_changes_is_changed_first(
    saved: CustomIndicators, store: PostgresCustomIndicators, owner: UUID, database_url: str
) -> None:
    created = await saved.create(owner, "mine", DRAFT)
    admin = await asyncpg.connect(database_url)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = $1"
    database = await admin.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")

    async def has_begun() -> bool:
        return deleting.done() or await admin.fetchval(waiting, database) > 0

    async with store.transaction() as rows:
        await rows.lock(owner)
        deleting = asyncio.create_task(saved.delete(owner, "mine"))
        await until(has_begun)
        await rows.change(replace(created, version=replace(created.version, number=2)), oldest=1)
    await deleting
    await admin.close()
    assert not await saved.named(owner, ["mine"])


async def test_of_many_versions_the_newest_are_kept(saved: CustomIndicators, owner: UUID) -> None:
    await saved.create(owner, "mine", DRAFT)
    for _ in range(MOST_VERSIONS + 1):
        await saved.change(owner, "mine", DRAFT)
    _, versions = await saved.get(owner, "mine")
    assert [version.number for version in versions] == list(range(MOST_VERSIONS + 2, 2, -1))


async def test_a_user_has_so_many_and_not_one_more_even_at_once(saved: CustomIndicators, owner: UUID, database_url: str) -> None:
    admin = await asyncpg.connect(database_url)
    await admin.execute(
        """
        WITH made AS (
            INSERT INTO indicator.custom_indicator
            SELECT gen_random_uuid(), $1, 'n' || i, '', 1, now(), now() FROM generate_series(1, $2) i RETURNING id
        )
        INSERT INTO indicator.custom_indicator_version SELECT id, 1, 'close', '[]', now() FROM made
        """,
        owner,
        MOST_INDICATORS - 1,
    )
    await admin.close()
    outcomes = await asyncio.gather(*(saved.create(owner, f"x{i}", DRAFT) for i in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CustomIndicator", *["TooManyCustomIndicators"] * 3]
    assert len(await saved.page(owner)) == MOST_INDICATORS
    await saved.create(new_id(), "x0", DRAFT)
    await saved.delete(owner, "n1")
    await saved.create(owner, "again", DRAFT)
    with pytest.raises(TooManyCustomIndicators):
        await saved.create(owner, "more", DRAFT)


async def test_pages_go_on_where_the_one_before_ended(saved: CustomIndicators, owner: UUID) -> None:
    for name in ("b", "a_", "a1", "aa"):
        await saved.create(owner, f"{name}x", DRAFT)
    whole = [indicator.name for indicator in await saved.page(owner)]
    first = [indicator.name for indicator in await saved.page(owner, limit=2)]
    rest = [indicator.name for indicator in await saved.page(owner, after=first[-1])]
    assert first + rest == whole
    assert set(whole) == {"bx", "a_x", "a1x", "aax"}


async def test_what_is_deleted_is_gone_with_its_versions_and_its_name_is_free(saved: CustomIndicators, owner: UUID) -> None:
    created = await saved.create(owner, "mine", DRAFT)
    await saved.delete(owner, "mine")
    with pytest.raises(NoSuchCustomIndicator):
        await saved.get(owner, "mine")
    again = await saved.create(owner, "mine", DRAFT)
    assert (again.version.number, again.id != created.id) == (1, True)
    assert (await saved.get(owner, "mine"))[1] == [again.version]


async def test_times_are_those_of_the_clock(store: PostgresCustomIndicators, owner: UUID) -> None:
    now = system_clock().replace(microsecond=123456) - timedelta(days=400)
    saved = CustomIndicators(store, clock=lambda: now, new_id=new_id)
    await saved.create(owner, "mine", DRAFT)
    found, _ = await saved.get(owner, "mine")
    assert (found.created_at, found.updated_at, found.version.created_at) == (now, now, now)


@pytest.mark.parametrize("fault", ["nobody listens", "not migrated"])
async def test_a_store_that_cannot_be_used_is_unavailable(postgres_url: str, owner: UUID, fault: str) -> None:
    url = {"nobody listens": "postgresql://u:p@127.0.0.1:1/x", "not migrated": postgres_url}[fault]
    async with PostgresCustomIndicators(open_engine(url, service="test", pool_size=1, command_timeout_s=5), within_s=5) as store:
        saved = CustomIndicators(store, clock=system_clock, new_id=new_id)
        for attempt in (saved.named(owner, ["x"]), saved.create(owner, "x", DRAFT), saved.delete(owner, "x")):
            with pytest.raises(Unavailable):
                await attempt


async def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up_and_left(owner: UUID) -> None:
    callers: list[asyncio.Task[None] | None] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(asyncio.current_task())
        await reader.read()  # until the client has gone
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"postgresql://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/x?sslmode=disable"
        engine = open_engine(url, service="test", pool_size=1, command_timeout_s=5)
        async with PostgresCustomIndicators(engine, within_s=0.2) as store:
            saved = CustomIndicators(store, clock=system_clock, new_id=new_id)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await saved.named(owner, ["x"])
        assert len(callers) == 2
        await asyncio.wait_for(asyncio.gather(*filter(None, callers)), 10)
