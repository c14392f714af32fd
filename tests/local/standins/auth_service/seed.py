"""Seeding as the stack sees it: users on stdin, their keys on stdout, with the rights of the app role."""

import asyncio
import json
import os
import secrets
import sys
from typing import Any

import asyncpg


async def _seed(users: list[dict[str, Any]]) -> list[dict[str, str]]:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    seeded = []
    for user in users:
        key = await connection.fetchval("SELECT api_key FROM auth.standin_key WHERE username = $1", user["username"])
        if key is None or key != user["api_key"]:
            key = secrets.token_hex(16)
            await connection.execute(
                "INSERT INTO auth.standin_key VALUES ($1, $2) ON CONFLICT (username) DO UPDATE SET api_key = $2",
                user["username"],
                key,
            )
        seeded.append({"username": user["username"], "tier": user["tier"], "api_key": key})
    await connection.close()
    return seeded


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"users": asyncio.run(_seed(json.load(sys.stdin)["users"]))}))
