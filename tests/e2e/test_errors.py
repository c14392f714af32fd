"""Every refusal is a problem that says what to do about it."""

import json

import httpx
import pytest

from tests.e2e.conftest import Account
from tests.support.stack import SERVICES, Stack


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


async def test_an_unknown_symbol_is_not_found(client: httpx.AsyncClient, stack: Stack) -> None:
    for path in ("/api/v1/indicators/rsi?symbol=NOSUCH", "/api/v1/bars/NOSUCH", "/api/v1/symbols/NOSUCH"):
        assert "NOSUCH" in str(problem(await client.get(path, headers=stack.key("premium")), 404)["detail"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("time_period=0", "time_period"),
        ("time_period=1.5", "time_period"),
        ("time_period=99999999999999999999", "time_period"),
        ("time_period=NaN", "time_period"),
        ("window=14&time_period=14", "time_period"),
        ("start_date=yesterday", "start_date"),
        ("start_date=2013-02-01&end_date=2013-01-01", "start_date"),
        ("interval=5min", "interval"),
        ("adjustment=some", "adjustment"),
        ("limit=0", "limit"),
        ("order=up", "order"),
        ("nonsense=1", "nonsense"),
    ],
)
async def test_a_bad_parameter_is_named(client: httpx.AsyncClient, stack: Stack, query: str, field: str) -> None:
    document = problem(await client.get(f"/api/v1/indicators/rsi?symbol=AAPL&{query}", headers=stack.key("premium")), 422)
    errors = document["errors"]
    assert isinstance(errors, list)
    assert any(field in error["loc"] for error in errors), errors


async def test_a_missing_symbol_is_named(client: httpx.AsyncClient, stack: Stack) -> None:
    document = problem(await client.get("/api/v1/indicators/rsi", headers=stack.key("premium")), 422)
    assert document["errors"][0]["loc"] == ["query", "symbol"]  # type: ignore[index]  # a list of dicts, as asserted above


async def test_a_tier_that_may_not_is_told_which_may(client: httpx.AsyncClient, free_account: Account, stack: Stack) -> None:
    rsi = problem(await client.get("/api/v1/indicators/rsi?symbol=AAPL", headers=free_account.key), 403)
    assert rsi["required_tier"] == "pro"
    bbands = problem(await client.get("/api/v1/indicators/bbands?symbol=AAPL", headers=stack.key("pro")), 403)
    assert bbands["required_tier"] == "premium"
    old = await client.get("/api/v1/bars/AAPL?start_date=2001-01-02&end_date=2001-02-02", headers=stack.key("pro"))
    assert problem(old, 403)["required_tier"] == "premium"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "kalpi_live_" + "a" * 36},
        {"X-API-Key": ""},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
        {"Authorization": "Basic YTpi"},
        {"X-Kalpi-Principal": "forged"},
    ],
)
async def test_bad_credentials_are_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get("/api/v1/symbols", headers=headers)
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_wrong_passwords_and_unknown_users_look_alike(client: httpx.AsyncClient, free_account: Account) -> None:
    wrong = problem(
        await client.post("/api/v1/auth/login", data={"username": free_account.email, "password": "not the one"}), 401
    )
    unknown = problem(await client.post("/api/v1/auth/login", data={"username": "nobody@example.com", "password": "not it"}), 401)
    assert {**wrong, "request_id": ""} == {**unknown, "request_id": ""}


async def test_nobody_registers_with_a_tier_of_their_choice_or_twice(client: httpx.AsyncClient, free_account: Account) -> None:
    body = {"username": "somebody-else", "email": "somebody-else@example.com", "password": "correct horse", "tier": "enterprise"}
    document = problem(await client.post("/api/v1/auth/register", json=body), 422)
    assert document["errors"][0]["loc"] == ["body", "tier"]  # type: ignore[index]  # a list of dicts
    twice = {"username": "another-name", "email": free_account.email, "password": "correct horse battery"}
    problem(await client.post("/api/v1/auth/register", json=twice), 409)


async def test_unknown_paths_methods_and_large_bodies_are_problems(client: httpx.AsyncClient, stack: Stack) -> None:
    key = stack.key("premium")
    problem(await client.get("/api/v1/nowhere", headers=key), 404)
    problem(await client.get("/internal/v1/resolve", headers=key), 404)
    problem(await client.put("/api/v1/symbols", headers=key), 405)
    problem(await client.post("/api/v1/auth/register", content=b"x" * (2 << 20)), 413)


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "gateway"])
async def test_a_service_reached_directly_wants_the_signed_principal(stack: Stack, service: str) -> None:
    paths = {
        "auth-service": ("/api/v1/auth/me", "/internal/v1/resolve", "/api/v1/admin/users"),
        "data-service": ("/api/v1/symbols", "/internal/v1/bars/AAPL"),
        "indicator-service": ("/api/v1/indicators/rsi?symbol=AAPL",),
        "ratelimit-service": ("/api/v1/usage",),
    }
    port = stack.state["services"][service]["port"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as direct:
        for path in paths[service]:
            problem(await direct.get(path), 401)
            problem(await direct.get(path, headers={"X-Kalpi-Principal": "e30.e30", **stack.key("premium")}), 401)
        assert (await direct.get("/health/ready")).status_code == 200


def test_no_secret_is_in_a_log(stack: Stack) -> None:
    """Runs over whatever the other tests have made the services log."""
    secrets = [value for name, value in stack.demo.items() if name.endswith("_KEY")]
    secrets += [text for text in _strings((stack.home / "secrets.json").read_text()) if len(text) >= 16]
    assert len(secrets) > 8
    for log in (stack.home / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log.name


def _strings(text: str) -> list[str]:
    def walk(value: object) -> list[str]:
        if isinstance(value, dict):
            return [found for inner in value.values() for found in walk(inner)]
        if isinstance(value, list):
            return [found for inner in value for found in walk(inner)]
        return [value] if isinstance(value, str) else []

    return walk(json.loads(text))
