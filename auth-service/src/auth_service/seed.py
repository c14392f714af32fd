"""`python -m auth_service.seed`: users and a key for each, from JSON on stdin to JSON on stdout.

    in   {"users": [{"username", "email", "password", "tier", "roles", "key_name", "api_key"}]}
    out  {"users": [{"username", "tier", "api_key"}]}

May be run again: a user that exists stays as it is, and so does an `api_key` that is still valid; else a new one is made, which
may do all that its user may. One of that name with another tier or other roles is somebody else's, or was changed since: then
nothing is done for anybody.
"""

import asyncio
import os
import sys

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auth_service.app import database_of, gate_of, hasher_of
from auth_service.domain.accounts import Accounts, NewUser
from auth_service.domain.keys import KeyService, NewKey
from auth_service.domain.model import Credential, Origin, User
from auth_service.settings import Settings
from shared.clock import system_clock
from shared.errors import Conflict, KalpiError
from shared.ids import new_id
from shared.scopes import scopes_of
from shared.settings import load_settings

__all__ = ["AnotherUser", "SeedUser", "SeededUser", "seed"]

_ORIGIN = Origin(actor="svc:seed")


class SeedUser(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    username: str
    email: str
    password: str = Field(repr=False)
    tier: str
    roles: tuple[str, ...]
    key_name: str
    api_key: str | None = Field(repr=False)


class SeededUser(BaseModel):
    username: str
    tier: str
    api_key: str = Field(repr=False)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    users: list[SeedUser]


class _Done(BaseModel):
    users: list[SeededUser]


class AnotherUser(Conflict):
    """A key for them would be a key to rights that were not asked for, or to an account that somebody else registered."""

    def __init__(self, asked: SeedUser, found: User) -> None:
        super().__init__(
            f"a user {found.username} is there already, with {_rights(found.tier, found.roles)}, "
            f"where {_rights(asked.tier, asked.roles)} was asked for; nothing was changed"
        )


def _rights(tier: str, roles: tuple[str, ...]) -> str:
    return f"tier {tier} and {'roles ' + ', '.join(roles) if roles else 'no roles'}"


async def seed(settings: Settings, users: list[SeedUser]) -> list[SeededUser]:
    """AnotherUser when a name is somebody else's, AlreadyRegistered when an address is; InvalidInput for an unfit password."""
    async with database_of(settings, asyncio.Event()) as database, hasher_of(settings) as hasher:
        gate = gate_of(settings, database, hasher, system_clock)
        accounts = Accounts(database, hasher, gate, system_clock, new_id)
        keys = KeyService(database, clock=system_clock, new_id=new_id, random=os.urandom)
        # all before any: the first is not made when the last is refused
        found = [await _found(accounts, user) for user in users]
        return [await _seed(accounts, keys, user, known) for user, known in zip(users, found, strict=True)]


async def _found(accounts: Accounts, asked: SeedUser) -> User | None:
    user = await accounts.find(asked.username)
    if user is not None and (user.tier, set(user.roles)) != (asked.tier, set(asked.roles)):
        raise AnotherUser(asked, user)
    return user


async def _seed(accounts: Accounts, keys: KeyService, asked: SeedUser, user: User | None) -> SeededUser:
    if user is None:
        new = NewUser(asked.username, asked.email, asked.password, tier=asked.tier, roles=asked.roles)
        user = await accounts.register(new, _ORIGIN)
    if asked.api_key is not None and await keys.belongs_to(asked.api_key, user.id):
        return SeededUser(username=user.username, tier=user.tier, api_key=asked.api_key)
    scopes = scopes_of(user.roles)
    secret, _ = await keys.create(Credential(user.owner, scopes), NewKey(asked.key_name, scopes), _ORIGIN)
    return SeededUser(username=user.username, tier=user.tier, api_key=secret)


def _main() -> None:
    try:
        asked = _Asked.model_validate_json(sys.stdin.buffer.read())
        seeded = asyncio.run(seed(load_settings(Settings), asked.users))
    except (ValidationError, KalpiError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(_Done(users=seeded).model_dump_json() + "\n")


if __name__ == "__main__":
    _main()
