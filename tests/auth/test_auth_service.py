"""auth-service as a process among others: its settings, its tokens, its health, its document, its seeding."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import asyncpg
import jwt
import pytest
from pydantic import SecretStr, ValidationError

from auth_service.app import NAME, create_app
from auth_service.seed import SeedUser, seed
from auth_service.settings import Settings
from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER, LIFETIME_S, TYPE
from shared.ids import new_id
from shared.settings import EX_CONFIG, load_settings
from tests.auth.auth_world import Person, World, random_key, running_world, settings_of
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS, headers_for, user

NOWHERE = "postgresql://user:a-database-password@127.0.0.1:1/nowhere"


async def test_an_access_token_has_the_documented_form_and_verifies(world: World, member: Person) -> None:
    token = member.tokens["access_token"]
    header = jwt.get_unverified_header(token)
    keys = (await world.client.get("/.well-known/jwks.json")).json()["keys"]
    assert header == {"alg": ALGORITHM, "typ": TYPE, "kid": keys[0]["kid"]}
    claims = jwt.decode(token, jwt.PyJWK(keys[0]), algorithms=["EdDSA"], audience="kalpi-api", issuer="kalpi")
    assert set(claims) == {"iss", "aud", "sub", "sid", "jti", "iat", "exp"}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (str(member.id), LIFETIME_S)
    assert claims["iat"] == int(world.clock.now.timestamp())
    again = (await world.refresh(member.refresh_token)).json()["access_token"]
    assert jwt.decode(again, options={"verify_signature": False})["jti"] != claims["jti"]


async def test_a_forged_token_does_not_verify(world: World, member: Person) -> None:
    (key,) = (await world.client.get("/.well-known/jwks.json")).json()["keys"]
    head, body, signature = member.tokens["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"sub": str(new_id())}).encode()).decode().rstrip("=")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(f"{head}.{forged}.{signature}", jwt.PyJWK(key), algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER)


async def test_public_keys_are_named_by_their_thumbprint_and_nothing_private_is_in_them(database_url: str, nats_url: str) -> None:
    before = random_key()
    settings = settings_of(database_url, nats_url, previous_signing_key=SecretStr(before))
    async with running_world(settings) as world:
        answer = await world.client.get("/.well-known/jwks.json")
        keys = answer.json()["keys"]
    assert len(keys) == 2
    for key in keys:
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
        assert set(key) == {"kty", "crv", "alg", "use", "kid", "x"}
        required = json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
        thumbprint = base64.urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).decode().rstrip("=")
        assert key["kid"] == thumbprint


async def test_a_token_of_the_key_before_still_verifies(database_url: str, nats_url: str) -> None:
    old = settings_of(database_url, nats_url)
    async with running_world(old) as world:
        token = (await world.member()).tokens["access_token"]
    new = old.model_copy(update={"signing_key": SecretStr(random_key()), "previous_signing_key": old.signing_key})
    async with running_world(new) as world:
        assert await world.is_alive(token)
        fresh = (await world.member()).tokens["access_token"]
        assert jwt.get_unverified_header(token)["kid"] != jwt.get_unverified_header(fresh)["kid"]


async def test_health_names_what_it_needs(world: World) -> None:
    answer = await world.client.get("/health")
    assert answer.json() == {
        "status": "ok",
        "service": NAME,
        "dependencies": {"nats": "ok", "postgres": "ok", "relay": "ok", "signing-keys": "ok", "mail": "ok"},
    }


async def test_without_its_database_it_says_so_and_answers_503(nats_url: str) -> None:
    async with running(create_app(settings_of(NOWHERE, nats_url))) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert "a-database-password" not in health.text

        async def relay() -> bool:
            state = (await client.get("/health")).json()["dependencies"]["relay"]
            return bool(state == "failed (Unavailable)")

        await until(relay, what="facts that wait")
        headers = headers_for(user(), NAME)
        answer = await client.get("/api/v1/auth/me", headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "127.0.0.1" not in answer.text
        assert (await client.get("/.well-known/jwks.json")).status_code == 503, "no ring was read, and none is not an empty one"


def test_its_document_can_be_made_without_starting_anything() -> None:
    app = create_app(settings_of(NOWHERE, "nats://127.0.0.1:1"))
    document = app.openapi()
    assert set(document["paths"]) == {
        "/.well-known/jwks.json",
        "/api/v1/admin/api-keys",
        "/api/v1/admin/api-keys/{key_id}",
        "/api/v1/admin/audit",
        "/api/v1/admin/audit/export",
        "/api/v1/admin/audit/head",
        "/api/v1/admin/tenants",
        "/api/v1/admin/tenants/{tenant_id}",
        "/api/v1/admin/users",
        "/api/v1/admin/users/{user_id}",
        "/api/v1/admin/users/{user_id}/sessions",
        "/api/v1/admin/users/{user_id}/unlock",
        "/api/v1/auth/api-keys",
        "/api/v1/auth/api-keys/{key_id}",
        "/api/v1/auth/api-keys/{key_id}/rotate",
        "/api/v1/auth/login",
        "/api/v1/auth/logout",
        "/api/v1/auth/logout-all",
        "/api/v1/auth/me",
        "/api/v1/auth/password",
        "/api/v1/auth/password/forgot",
        "/api/v1/auth/password/reset",
        "/api/v1/auth/refresh",
        "/api/v1/auth/register",
        "/api/v1/tenant",
        "/api/v1/tenant/invitations",
        "/api/v1/tenant/invitations/accept",
        "/api/v1/tenant/invitations/{invitation_id}",
        "/api/v1/tenant/members",
        "/api/v1/tenant/members/{member_id}",
        "/internal/v1/origins",
        "/internal/v1/resolve",
        "/internal/v1/resolve/batch",
    }
    body = document["components"]["schemas"]["RegisterBody"]
    assert (set(body["properties"]), body["additionalProperties"]) == (
        {"username", "email", "password", "invitation"},
        False,
    )


def environment(**changes: str) -> dict[str, str]:
    return {
        "KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS,
        "AUTH_SIGNING_KEY": random_key(),
        "AUTH_REFRESH_KEY": random_key(),
        "AUTH_AUDIT_KEY": random_key(),
        "AUTH_MAIL_URL": "file:///tmp/mail",
        "DATABASE_URL": NOWHERE,
        "NATS_URL": "nats://127.0.0.1:1",
    } | changes


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTH_SIGNING_KEY", base64.urlsafe_b64encode(bytes(range(33))).decode()),
        ("AUTH_SIGNING_KEY", "change-me"),
        ("AUTH_SIGNING_KEY", ""),
        ("AUTH_PREVIOUS_SIGNING_KEY", "short"),
        ("AUTH_REFRESH_KEY", "A" * 43),
        ("AUTH_MAIL_URL", "http://mail.example.com"),
        ("AUTH_MAIL_URL", "smtp://user:pass/word@mail.example.com"),
        ("AUTH_MAIL_URL", "smtp://mail.example.com?tls=maybe"),
        ("AUTH_MAIL_URL", "file://folder/mail"),
        ("AUTH_MAIL_FROM", "nobody"),
        ("DATABASE_URL", "mysql://127.0.0.1/x"),
        ("AUTH_SESSION_DAYS", "0"),
        ("AUTH_HASHING_THREADS", "0"),
    ],
)
def test_an_unfit_variable_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    for name, text in environment(**{variable: value}).items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit) as ended:
        load_settings(Settings)
    assert ended.value.code == EX_CONFIG
    told = capsys.readouterr().err
    assert told.startswith(f"{variable}: ")
    assert len(told.splitlines()) == 1
    assert not value or value not in told


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in environment():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit):
        load_settings(Settings)
    assert {line.partition(":")[0] for line in capsys.readouterr().err.splitlines()} == set(environment())


def test_settings_are_frozen_and_print_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    values = environment()
    for name, text in values.items():
        monkeypatch.setenv(name, text)
    settings = load_settings(Settings)
    assert not [value for value in values.values() if value in repr(settings)]
    assert (settings.argon2_time_cost, settings.argon2_memory_kib, settings.argon2_parallelism) == (3, 65_536, 4)
    with pytest.raises(ValidationError):
        settings.session_days = 1  # type: ignore[misc]


def seed_with(environ: Mapping[str, str], users: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "auth_service.seed"],
        env={"PATH": os.environ["PATH"], **environ},
        input=json.dumps({"users": users}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_seeding_may_be_repeated_and_keeps_what_is_valid(database_url: str, admin_url: str, nats_url: str) -> None:
    name = f"demo-{new_id().hex[8:]}"
    cheap = {"AUTH_ARGON2_TIME_COST": "1", "AUTH_ARGON2_MEMORY_KIB": "8", "AUTH_ARGON2_PARALLELISM": "1"}
    environ = environment(DATABASE_URL=database_url) | cheap
    asked: dict[str, Any] = {
        "username": name,
        "email": f"{name}@example.com",
        "password": random_key(),
        "tier": "enterprise",
        "roles": ["admin"],
        "key_name": "demo",
        "api_key": None,
    }
    first = seed_with(environ, [asked])
    assert (first.returncode, first.stderr) == (0, "")
    (made,) = json.loads(first.stdout)["users"]
    assert (made["username"], made["tier"]) == (name, "enterprise")
    settings = settings_of(database_url, nats_url)
    kept = await seed(settings, [SeedUser(**asked | {"api_key": made["api_key"]})])
    assert [user.model_dump() for user in kept] == [made], "an existing user stays as they are"
    async with running_world(settings) as world:
        resolved = (await world.resolve_key(made["api_key"])).json()
        assert (resolved["tier"], resolved["roles"]) == ("enterprise", ["admin"])
        assert (await world.try_login(name, asked["password"])).status_code == 200
        other = await world.create_key(await world.register())
    (fresh,) = await seed(settings, [SeedUser(**asked | {"api_key": other["api_key"]})])
    assert fresh.api_key not in {made["api_key"], other["api_key"]}, "a key of somebody else is not theirs"
    connection = await asyncpg.connect(admin_url)
    user_id = await connection.fetchval("SELECT id FROM auth.user_account WHERE username = $1", name)
    assert await connection.fetchval("SELECT count(*) FROM auth.api_key WHERE user_id = $1", user_id) == 2
    await connection.close()


def test_seeding_that_fails_says_why_and_repeats_no_password() -> None:
    asked = {"username": "ada", "email": "ada@example.com", "password": "a-password-to-hide", "tier": "free"}
    whole: dict[str, Any] = asked | {"roles": [], "key_name": "", "api_key": None}
    unfit = seed_with(environment(), [asked])
    away = seed_with(environment(), [whole])
    assert (unfit.returncode, away.returncode) == (1, 1)
    assert "users.0.roles" in unfit.stderr
    assert "the user database does not answer" in away.stderr
    assert "a-password-to-hide" not in unfit.stderr + unfit.stdout + away.stderr + away.stdout
    assert "Traceback" not in unfit.stderr + away.stderr
