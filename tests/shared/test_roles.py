"""The two roles of a service's schema: made by whoever may, from the URLs that name them."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.ids import new_id
from shared.roles import DatabaseUrls, create_roles, role_of


@pytest.fixture
async def urls(postgres_url: str) -> AsyncIterator[DatabaseUrls]:
    """Of two roles that are not there yet."""
    place, suffix = postgres_url.rpartition("@")[2], new_id().hex
    owner, app = (f"{role}_{suffix}" for role in ("owner", "app"))
    yield DatabaseUrls(f"postgresql://{app}:of%20app@{place}", f"postgresql://{owner}:of%2Fowner@{place}", postgres_url)
    admin = await asyncpg.connect(postgres_url)
    for role in (app, owner):
        if await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
            await admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    await admin.close()


async def rights(url: str) -> tuple[bool, bool]:
    """Whether who connects so may do everything, and make a schema."""
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb, has_database_privilege(current_database(), 'CREATE') "
        "FROM pg_roles WHERE rolname = current_user"
    )
    await connection.close()
    return row[0], row[1]


async def test_both_are_made_at_once_by_several_and_may_do_no_more_than_they_need(urls: DatabaseUrls) -> None:
    await asyncio.gather(*(create_roles(urls) for _ in range(3)))
    assert await rights(urls.owner) == (False, True)
    assert await rights(urls.app) == (False, False)


async def test_a_role_that_is_there_is_given_the_password_of_its_url(urls: DatabaseUrls) -> None:
    await create_roles(urls)
    changed = DatabaseUrls(urls.app.replace("of%20app", "another"), urls.owner, urls.admin)
    await create_roles(changed)
    assert await rights(changed.app) == (False, False)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await rights(urls.app)


async def test_who_owns_the_database_and_may_create_roles_is_enough(urls: DatabaseUrls, postgres_url: str) -> None:
    maker = f"maker_{new_id().hex}"
    admin = await asyncpg.connect(postgres_url)
    name = postgres_url.rpartition("/")[2]
    await admin.execute(f"CREATE ROLE {maker} LOGIN PASSWORD 'x' CREATEROLE; ALTER DATABASE {name} OWNER TO {maker}")
    for _ in range(2):
        await create_roles(DatabaseUrls(urls.app, urls.owner, f"postgresql://{maker}:x@{postgres_url.rpartition('@')[2]}"))
    assert await rights(urls.owner) == (False, True)
    await admin.execute(f"REASSIGN OWNED BY {maker} TO CURRENT_USER; DROP OWNED BY {maker} CASCADE")
    await admin.execute(f"DROP ROLE {maker}")
    await admin.close()


def test_urls_come_from_three_variables_of_which_one_is_required() -> None:
    assert DatabaseUrls.of({"DATABASE_URL": "a"}) == DatabaseUrls("a", "a")
    environ = {"DATABASE_URL": "a", "DATABASE_OWNER_URL": "b", "DATABASE_ADMIN_URL": "c"}
    assert DatabaseUrls.of(environ) == DatabaseUrls("a", "b", "c")
    assert DatabaseUrls.of(environ).environ == environ


@pytest.mark.parametrize("url", ["postgresql://a%40b:x@h/d", "postgres://a%40b@h", "postgresql:///d?user=a%40b&host=/run"])
def test_a_role_is_what_the_url_names(url: str) -> None:
    assert role_of(url) == "a@b"


def test_a_url_without_a_role_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="names no role") as refused:
        role_of("postgresql://:hunter2@h/d")
    assert "hunter2" not in str(refused.value)
