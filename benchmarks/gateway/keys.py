"""A thousand users of the tier pro with a key each, put straight into auth-service's tables: each is a copy of the demo's.

Registered one by one they would take a password's hash each, which is minutes.
"""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from shared.api_keys import digest, new_api_key
from shared.ids import new_id
from tests.support.stack import Stack

__all__ = ["make_keys"]


async def make_keys(stack: Stack, count: int) -> list[str]:
    """Of tenants of their own, so that none spends what is another's."""
    connection = await asyncpg.connect(stack.state["urls"]["postgres"])
    try:
        user, tenant, key = await _rows_of_demo(connection)
        keys = [new_api_key(os.urandom) for _ in range(count)]
        ids = [(new_id(), new_id()) for _ in keys]
        async with connection.transaction():
            await _copy(connection, "tenant", tenant, [{"id": tenant_id, "name": f"bench-{tenant_id}"} for tenant_id, _ in ids])
            await _copy(connection, "user_account", user, [_user(*pair) for pair in ids])
            told = [_key(secret, *pair) for secret, pair in zip(keys, ids, strict=True)]
            await _copy(connection, "api_key", key, told)
        return keys
    finally:
        await connection.close()


async def _rows_of_demo(connection: Any) -> list[dict[str, Any]]:
    user = dict(await connection.fetchrow("SELECT * FROM auth.user_account WHERE username = 'demo-pro'"))
    tenant = dict(await connection.fetchrow("SELECT * FROM auth.tenant WHERE id = $1", user["tenant_id"]))
    key = dict(await connection.fetchrow("SELECT * FROM auth.api_key WHERE user_id = $1 LIMIT 1", user["id"]))
    return [user, tenant, key]


def _user(tenant_id: UUID, user_id: UUID) -> dict[str, Any]:
    return {"id": user_id, "tenant_id": tenant_id, "username": f"bench-{user_id}", "email": f"{user_id}@example.com"}


def _key(secret: str, tenant_id: UUID, user_id: UUID) -> dict[str, Any]:
    made = {"id": new_id(), "tenant_id": tenant_id, "user_id": user_id, "created_at": datetime.now(UTC)}
    return {**made, "key_sha256": digest(secret), "key_hint": f"kalpi_live_…{secret[-4:]}"}


async def _copy(connection: Any, table: str, row: dict[str, Any], changes: list[dict[str, Any]]) -> None:
    records = [tuple({**row, **change}.values()) for change in changes]
    await connection.copy_records_to_table(table, schema_name="auth", records=records, columns=list(row))
