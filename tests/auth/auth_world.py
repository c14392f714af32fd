"""auth-service in this process on a database of its own, spoken to as the gateway does, with a clock that tests move."""

import base64
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jwt
from jwt.types import Options
from pydantic import SecretStr

from auth_service.app import NAME, create_app
from auth_service.settings import Settings
from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER
from shared.api_keys import digest
from shared.clock import system_clock
from shared.ids import new_id
from shared.principal import HEADER, EnvelopeSigner, KeyRing, Principal
from shared.scopes import scopes_of
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, user

_MAIL = tempfile.TemporaryDirectory(prefix="kalpi-mail-")
PASSWORD = "correct horse battery"


def new_ip() -> str:
    """In a network of its own: what is counted by address is counted for each world by itself."""
    return f"2001:db8:{os.urandom(2).hex()}:{os.urandom(2).hex()}::7"


def random_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def settings_of(database_url: str, nats_url: str, **more: Any) -> Settings:
    """With the cheapest parameters argon2 takes."""
    cheap: dict[str, Any] = {"argon2_time_cost": 1, "argon2_memory_kib": 8, "argon2_parallelism": 1}
    given: dict[str, Any] = {
        "principal_keys": SecretStr(PRINCIPAL_KEYS),
        "signing_key": SecretStr(random_key()),
        "refresh_key": SecretStr(random_key()),
        "audit_key": SecretStr(random_key()),
        "mail_url": SecretStr(Path(_MAIL.name).as_uri()),
        "database_url": SecretStr(database_url),
        "nats_url": SecretStr(nats_url),
    }
    return Settings(**{**cheap, **given, **more})


class MovableClock:
    def __init__(self) -> None:
        self.now = system_clock()

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass
class Person:
    """A registered user, as the tests know them."""

    id: UUID
    tenant_id: UUID
    name: str
    email: str
    principal: Principal
    password: str = PASSWORD
    tokens: dict[str, Any] = field(default_factory=dict)

    @property
    def refresh_token(self) -> str:
        return str(self.tokens["refresh_token"])


class World:
    def __init__(self, client: httpx.AsyncClient, clock: MovableClock, settings: Settings) -> None:
        self.client = client
        self.clock = clock
        self.settings = settings
        self.client_ip = new_ip()
        self._signer = EnvelopeSigner(KeyRing.parse(PRINCIPAL_KEYS), clock)

    async def call(
        self, method: str, path: str, caller: Principal | None = None, *, client_ip: str = "", **request: Any
    ) -> httpx.Response:
        """For the gateway itself (a request without credentials) or for `caller`."""
        principal = caller or Principal.service("gateway")
        headers = {HEADER: self._signer.sign(principal, audience=NAME, client_ip=client_ip or self.client_ip)}
        return await self.client.request(method, path, headers=headers, **request)

    async def register(self, *, password: str = PASSWORD) -> Person:
        name = f"u{new_id().hex[8:]}"
        email = f"{name}@example.com"
        body = {"username": name, "email": email, "password": password}
        answer = await self.call("POST", "/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        document = answer.json()
        owner = {"user_id": document["id"], "tenant_id": document["tenant_id"]}
        session_id = str(new_id())
        principal = Principal(kind="user", **owner, tier=document["tier"], scopes=scopes_of([]), session_id=session_id)
        return Person(UUID(document["id"]), UUID(document["tenant_id"]), name, email, principal, password)

    async def try_login(self, name: str, password: str = PASSWORD, *, client_ip: str = "") -> httpx.Response:
        form = {"username": name, "password": password}
        return await self.call("POST", "/api/v1/auth/login", client_ip=client_ip, data=form)

    async def login(self, person: Person) -> dict[str, Any]:
        answer = await self.try_login(person.name, person.password)
        assert answer.status_code == 200, answer.text
        person.tokens = answer.json()
        return person.tokens

    async def member(self) -> Person:
        """Registered and logged in."""
        person = await self.register()
        await self.login(person)
        return person

    async def refresh(self, token: str) -> httpx.Response:
        return await self.call("POST", "/api/v1/auth/refresh", json={"refresh_token": token})

    async def create_key(self, person: Person, **body: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/api/v1/auth/api-keys", person.principal, json=body)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def resolve_key(self, key: str) -> httpx.Response:
        question = {"kind": "api_key", "key_sha256": digest(key)}
        return await self.call("POST", "/internal/v1/resolve", json=question)

    async def resolve_session(self, access_token: str) -> httpx.Response:
        claims = await self.verified(access_token)
        question = {"kind": "session", "user_id": claims["sub"], "session_id": claims["sid"]}
        return await self.call("POST", "/internal/v1/resolve", json=question)

    async def verified(self, access_token: str) -> dict[str, Any]:
        """The claims, after the checks of signature, audience and issuer that the gateway makes; the clock is the tests'."""
        document = (await self.client.get("/.well-known/jwks.json")).json()
        kid = jwt.get_unverified_header(access_token)["kid"]
        (key,) = [jwt.PyJWK(key) for key in document["keys"] if key["kid"] == kid]
        unchecked: Options = {"verify_exp": False, "verify_iat": False}
        claims: dict[str, Any] = jwt.decode(
            access_token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=unchecked
        )
        return claims

    async def is_alive(self, access_token: str) -> bool:
        return (await self.resolve_session(access_token)).status_code == 200


def administrator() -> Principal:
    """Of the platform."""
    return user("enterprise", roles=("admin",))


@asynccontextmanager
async def running_world(settings: Settings) -> AsyncIterator[World]:
    clock = MovableClock()
    async with running(create_app(settings, clock=clock)) as client:
        yield World(client, clock, settings)
