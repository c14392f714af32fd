"""Seeding never adopts somebody else's account."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from auth_service.seed import AnotherUser, SeedUser, seed
from shared.ids import new_id
from shared.roles import DatabaseUrls
from tests.auth.auth_world import PASSWORD, World, random_key, settings_of
from tests.support.principals import PRINCIPAL_KEYS

CHEAP = {"AUTH_ARGON2_TIME_COST": "1", "AUTH_ARGON2_MEMORY_KIB": "8", "AUTH_ARGON2_PARALLELISM": "1"}


def asked(name: str, **changes: Any) -> dict[str, Any]:
    user: dict[str, Any] = {
        "username": name,
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "tier": "enterprise",
        "roles": ["admin"],
        "key_name": "demo",
        "api_key": None,
    }
    return {**user, **changes}


def new_name() -> str:
    return f"demo-{new_id().hex[8:]}"


async def everything(admin_url: str) -> Mapping[str, list[asyncpg.Record]]:
    connection = await asyncpg.connect(admin_url)
    tables = ("user_account", "api_key", "tenant", "audit_event")
    rows = {table: await connection.fetch(f"SELECT t::text FROM auth.{table} t ORDER BY 1") for table in tables}  # noqa: S608
    await connection.close()
    return rows


def seed_with(database_url: str, nats_url: str, *users: Mapping[str, Any]) -> "subprocess.CompletedProcess[str]":
    secrets = {
        "KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS,
        "AUTH_SIGNING_KEY": random_key(),
        "AUTH_REFRESH_KEY": random_key(),
        "AUTH_AUDIT_KEY": random_key(),
        "AUTH_MAIL_URL": "file:///tmp/mail",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "auth_service.seed"],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "NATS_URL": nats_url, **secrets, **CHEAP},
        input=json.dumps({"users": users}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_a_stranger_of_that_name_gets_no_key_and_nobody_is_made(own_urls: DatabaseUrls, nats_url: str) -> None:
    """Whoever registers as demo-admin, a free user, before the demonstration does."""
    settings = settings_of(own_urls.app, nats_url)
    stranger, other = new_name(), new_name()
    await seed(settings, [SeedUser(**asked(stranger, tier="free", roles=()))])
    before = await everything(own_urls.admin)
    done = seed_with(own_urls.app, nats_url, asked(other), asked(stranger))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"a user {stranger} is there already, with tier free and no roles, "
        "where tier enterprise and roles admin was asked for; nothing was changed\n"
    )
    assert await everything(own_urls.admin) == before


@pytest.mark.parametrize(
    "changes", [{"tier": "pro"}, {"roles": ()}, {"roles": ("admin", "auditor")}], ids=["tier", "none", "more"]
)
async def test_other_rights_than_were_asked_for_are_refused(database_url: str, nats_url: str, changes: dict[str, Any]) -> None:
    settings, name = settings_of(database_url, nats_url), new_name()
    (made,) = await seed(settings, [SeedUser(**asked(name))])
    with pytest.raises(AnotherUser, match=f"a user {name} is there already, with tier enterprise and roles admin, where "):
        await seed(settings, [SeedUser(**asked(name, api_key=made.api_key, **changes))])


async def test_one_that_was_made_here_is_kept_with_its_key(world: World, database_url: str, nats_url: str) -> None:
    settings, name = settings_of(database_url, nats_url), new_name()
    (made,) = await seed(settings, [SeedUser(**asked(name))])
    (kept,) = await seed(settings, [SeedUser(**asked(name, api_key=made.api_key))])
    assert kept == made
    assert (await world.resolve_key(made.api_key)).json()["roles"] == ["admin"]
