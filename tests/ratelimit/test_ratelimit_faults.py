"""Whatever is killed or away: no change of plans is lost, and what is in force stays in force."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest
from redis.asyncio import Redis

from kalpi_local.servers import Servers
from ratelimit_service.app import NAME
from ratelimit_service.migrate import migrate
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from tests.ratelimit.conftest import Administrator, MakeSettings, OwnFile, day_of, enforced, gateways, plans_with, serving
from tests.ratelimit.dying import STEPS
from tests.support.poll import until
from tests.support.principals import headers_for, user
from tests.support.stack import ROOT

Away = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
def away(servers: Servers, database_url: str) -> Away:
    """Within it Postgres lets nobody into this test's database."""
    name = database_url.rpartition("/")[2]

    @asynccontextmanager
    async def refused() -> AsyncIterator[None]:
        admin = await asyncpg.connect(servers.database_url)
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        try:
            yield
        finally:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await admin.close()

    return refused


async def test_a_publication_is_in_force_whenever_who_published_it_is_killed(
    plans: OwnFile,
    settings_of: MakeSettings,
    database_url: str,
    redis: Redis,
    redis_url: str,
    nats_url: str,
    bus: EventBus,
) -> None:
    """After the commit, after the book is in the store, after the gateways were told: who comes next goes on from there."""
    arguments = ["-m", "tests.ratelimit.dying", database_url, redis_url, nats_url, str(plans.path)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    async with serving(settings_of(plans)), gateways(redis, bus) as both:
        await enforced(both, lambda book: day_of(book) == 10)
    async with gateways(redis, bus) as both:
        for day, step in enumerate(STEPS, start=77):
            child.stdin.write(f"{step} {day}\n".encode())
            while (said := await child.stdout.readline()) != b"killed\n":
                assert said, "it has ended by itself"
                assert not said.startswith(b"not killed")
            async with serving(settings_of(plans)):
                await enforced(both, lambda book, day=day: day_of(book) == day)  # type: ignore[misc]
    child.stdin.close()
    await child.wait()
    async with serving(settings_of(plans)) as admin:
        assert [one["version"] for one in await admin.history()] == [4, 3, 2, 1]


async def test_without_postgres_nothing_changes_and_all_else_goes_on(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus, away: Away
) -> None:
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        assert (await admin.publish(plans_with(20), replaces=1)).status_code == 200
        await enforced(both, lambda book: day_of(book) == 20)
        async with away():
            for method, path, body in (
                ("PUT", "plans", {"text": plans_with(30), "replaces": 2}),
                ("POST", "plans/rollback", {"version": 1, "replaces": 2}),
                ("GET", "plans/history", None),
                ("GET", "limits/changes", None),
                ("GET", "limits/tenants", None),
                ("POST", "limits/users/0190b5a0-0000-7000-8000-000000000000/reset", {"reason": "why not"}),
            ):
                answer = await admin.ask(method, path, body)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), (method, path)
            shown = await admin.told("GET", "plans")
            assert (shown["rules"]["tiers"]["free"]["limits"]["day"], shown["newest"]) == (20, None)
            trial = await admin.told("POST", "plans/validate", {"text": plans_with(30)})
            assert trial["before"] == {"tiers.free.limits.day": 20}
            usage = await admin.client.get("/api/v1/usage", headers=headers_for(user("free"), NAME))
            assert usage.json()["policies"][0]["quota"] == 20
            plans.says(plans_with(40))
            await redis.delete(PLANS_KEY, f"{PLANS_KEY}:state")

            async def kept() -> bool:
                return bool(await redis.exists(PLANS_KEY))

            await until(kept, what="what is in force")
            async with gateways(redis, bus) as others:
                assert all(day_of(watcher.book) == 20 for watcher in others)
            health = (await admin.client.get("/health")).json()
            assert health["dependencies"]["postgres"].startswith("failed")
            assert (await admin.client.get("/health/ready")).status_code == 200
        await enforced(both, lambda book: day_of(book) == 40, "what the file says meanwhile")


async def test_a_service_that_starts_without_postgres_keeps_what_is_in_force_or_puts_its_file_in_force(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus, away: Away
) -> None:
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        await admin.publish(plans_with(20), replaces=1)
        await enforced(both, lambda book: day_of(book) == 20)
    plans.says(plans_with(30))
    async with away():
        async with serving(settings_of(plans)), gateways(redis, bus) as both:
            await enforced(both, lambda book: day_of(book) == 20)
        await redis.delete(PLANS_KEY, f"{PLANS_KEY}:state")
        async with serving(settings_of(plans)), gateways(redis, bus) as both:
            await enforced(both, lambda book: day_of(book) == 30)
    async with serving(settings_of(plans)) as admin:
        assert [one["source"] for one in await admin.history()] == ["file", "published", "file"]


async def test_a_schema_that_is_not_migrated_yet_is_one_that_is_away(
    plans: OwnFile, settings_of: MakeSettings, servers: Servers, redis: Redis, bus: EventBus
) -> None:
    async with serving(settings_of(plans, database_url=servers.database_url)) as admin, gateways(redis, bus) as both:
        await enforced(both, lambda book: day_of(book) == 10)
        assert (await admin.ask("GET", "plans/history")).status_code == 503


async def test_a_role_that_has_no_rights_yet_is_a_database_that_is_away_until_they_are_granted(
    plans: OwnFile, settings_of: MakeSettings, postgres_url: str, redis: Redis, bus: EventBus
) -> None:
    """The service was started beside the migration, and its first rounds came before the GRANTs."""
    async with app_role(postgres_url) as app_url:
        await asyncio.to_thread(migrate, postgres_url)
        async with serving(settings_of(plans, database_url=app_url)) as admin, gateways(redis, bus) as both:
            await enforced(both, lambda book: day_of(book) == 10)
            await until(lambda: failed_twice(admin), what="two rounds without rights")
            dependencies = (await admin.client.get("/health")).json()["dependencies"]
            assert (dependencies["postgres"], dependencies["partitions"]) == ("ok", "failed (Unavailable)")
            assert (await admin.ask("GET", "plans/history")).status_code == 503
            await asyncio.to_thread(migrate, postgres_url, app_url)

            async def well() -> bool:
                return bool((await admin.client.get("/health")).json()["status"] == "ok")

            await until(well, seconds=60, what="the partitions")
            assert (await admin.ask("GET", "plans/history")).status_code == 200
            assert await partitions(postgres_url) > 100


async def failed_twice(admin: Administrator) -> bool:
    told = (await admin.client.get("/metrics")).text
    counted = re.search(r'kalpi_task_failures_total\{task="partitions"\} (\S+)', told)
    return counted is not None and float(counted[1]) >= 2


@asynccontextmanager
async def app_role(database_url: str) -> AsyncIterator[str]:
    """The URL of one that may connect, and nothing else."""
    name = f"app_{new_id().hex}"
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    yield f"postgresql://{name}:x@{database_url.rpartition('@')[2]}"
    await admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
    await admin.close()


async def partitions(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    count = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text LIKE 'ratelimit.%'")
    await connection.close()
    return int(count)
