"""The demo users: one of each tier and an administrator, each with a key, written to `demo.env` for shells to source."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from kalpi_local.errors import LocalError
from kalpi_local.files import write_private
from kalpi_local.processes import Launch, run
from kalpi_local.secrets import DEMO_USERS, Secrets

__all__ = ["read_demo", "seed", "write_demo"]

_ADMIN = "demo-admin"


def _short(username: str) -> str:
    return username.removeprefix("demo-")


def _variable(username: str) -> str:
    return f"KALPI_{_short(username).upper()}_KEY"


def read_demo(path: Path) -> dict[str, str]:
    """The keys by user name, as far as the file has them."""
    try:
        pairs = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    except FileNotFoundError:
        return {}
    return {user: pairs[_variable(user)] for user in DEMO_USERS if _variable(user) in pairs}


def write_demo(path: Path, url: str, keys: Mapping[str, str]) -> None:
    lines = [f"KALPI_URL={url}", *(f"{_variable(user)}={keys[user]}" for user in DEMO_USERS)]
    write_private(path, "\n".join(lines) + "\n")


async def seed(env: Mapping[str, str], known: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    """Through auth-service's own seeding; the keys by user name: `known` ones while they are valid, else new ones."""
    users = [
        {
            "username": user,
            "email": f"{user}@example.com",
            "password": secrets.password(user),
            "tier": "enterprise" if user == _ADMIN else _short(user),
            "roles": ["admin"] if user == _ADMIN else [],
            "key_name": "demo",
            "api_key": known.get(user),
        }
        for user in DEMO_USERS
    ]
    finished = await run(Launch([sys.executable, "-P", "-m", "auth_service.seed"], env), json.dumps({"users": users}).encode())
    try:
        if finished.code == 0:
            return {str(user["username"]): str(user["api_key"]) for user in json.loads(finished.output)["users"]}
    except (ValueError, KeyError, TypeError):
        pass
    raise LocalError(f"seeding the demo users failed:\n{(finished.errors or finished.output).strip()[-2000:]}")
