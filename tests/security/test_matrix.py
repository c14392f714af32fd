"""Every route × every caller: what is answered is what the contract says (`matrix.py`), whatever the code thinks of it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

import gateway
from kalpi_local.secrets import Secrets
from tests.auth.auth_world import settings_of
from tests.security.backstage import backstage
from tests.security.cast import Caller, Cast
from tests.security.conftest import auth_database_url, signing_seeds
from tests.security.crowd import Crowd, crowd_at
from tests.security.errands import Errand, errand_for
from tests.security.matrix import BESIDE, ROWS, SINGLE_INDICATORS, Row, answer_for, indicator_row
from tests.support.poll import until
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = json.loads((Path(gateway.__file__).parent / "openapi.json").read_text())
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method in METHODS
}
AT_ONCE = 16
REFUSALS = {
    "401": (401, "unauthenticated"),
    "404": (404, "not-found"),
    "scope": (403, "scope-required"),
    "pro": (403, "tier-required"),
    "premium": (403, "tier-required"),
    "session": (403, "forbidden"),
    "role": (403, "forbidden"),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def crowd(stack: Stack) -> AsyncIterator[Crowd]:
    async with crowd_at(stack.url) as crowd:
        yield crowd


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cast(stack: Stack, crowd: Crowd) -> AsyncIterator[Cast]:
    url, secrets = auth_database_url(stack), Secrets(stack.home / "secrets.json")
    keys = {"signing_key": SecretStr(secrets.signing_key), "refresh_key": SecretStr(secrets.refresh_key)}
    async with backstage(settings_of(url, stack.state["urls"]["nats"], **keys)) as behind:
        cast = Cast(crowd, behind, stack.home / "mail", await signing_seeds(stack, url))
        await cast.assemble()
        yield cast


def indicators() -> list[Row]:
    """`GET` of each by its name: what stands in no row, directly beneath."""
    named = {row.operation for row in ROWS}
    beneath = f"GET {SINGLE_INDICATORS}"
    found = [one.removeprefix(beneath) for one in OPERATIONS if one.startswith(beneath) and one not in named]
    return [indicator_row(name) for name in found if "/" not in name]


def success(row: Row) -> int:
    """The only one that the document has."""
    if row.operation not in OPERATIONS:
        return 200
    (status,) = (int(one) for one in OPERATIONS[row.operation]["responses"] if one.startswith("2"))
    return status


def fault(row: Row, expected: str, answer: httpx.Response) -> str | None:
    """What is not as it should be."""
    if expected == "ok":
        return None if answer.status_code == success(row) else f"{answer.status_code} {answer.text[:200]}"
    status, slug = REFUSALS[expected]
    if (answer.status_code, answer.headers.get("content-type")) != (status, "application/problem+json"):
        return f"{answer.status_code} {answer.text[:200]}"
    told = {"type": f"urn:kalpi:problem:{slug}", "status": status, **members_of(row, expected)}
    problem = answer.json()
    asked_for = {"type", "title", "status", "detail", "instance", "request_id", *told}
    return None if set(problem) == asked_for and problem.items() >= told.items() else answer.text


def members_of(row: Row, expected: str) -> dict[str, Any]:
    """Which the problem has beyond the usual ones."""
    if expected == "scope":
        return {"required_scope": row.scope}
    return {"required_tier": expected} if expected in {"pro", "premium"} else {}


async def faults_of(cast: Cast, row: Row, callers: Sequence[Caller]) -> dict[str, str]:
    """By caller. Who is refused is so first, all at once; then those who are not, one after the other."""
    answers = {caller: answer_for(row, caller.column, caller.by) for caller in callers}
    found: dict[str, str] = {}

    async def run(caller: Caller) -> None:
        expected = answers[caller]

        async def attempt() -> tuple[Errand, httpx.Response] | None:
            async with preparing:
                errand = await errand_for(row.operation, cast, caller, succeeds=expected == "ok")
            answer = await cast.ask(row.method, errand.path, errand.by or caller, **errand.request)
            # too busy: with new things, for nobody knows how far it came
            return None if answer.status_code == 503 else (errand, answer)

        done = await until(attempt, seconds=60, every_s=0.2, what=f"{row.operation} by {caller.name}")
        assert done is not None
        errand, answer = done
        if (wrong := fault(row, expected, answer)) is not None:
            found[f"{caller.name}, not {expected}"] = wrong
        if errand.done is not None and answer.is_success:
            await errand.done(answer.json() if answer.content else {})

    preparing = asyncio.Lock()
    await asyncio.gather(*(run(caller) for caller in callers if answers[caller] != "ok"))
    for caller in callers:
        if answers[caller] == "ok":
            await run(caller)
    return found


async def test_the_table_names_every_operation_once_and_nothing_else() -> None:
    rows = Counter(row.operation for row in [*ROWS, *indicators()])
    assert set(rows.values()) == {1}
    assert set(rows) == set(OPERATIONS)


async def test_what_has_no_row_is_an_indicator(stack: Stack, crowd: Crowd) -> None:
    catalogue = await crowd.request("GET", "/api/v1/indicators", headers=stack.key("premium"))
    names = {one["name"] for one in catalogue.json()["data"]}
    assert {row.path.removeprefix(SINGLE_INDICATORS) for row in indicators()} == names


@pytest.mark.parametrize("row", [*ROWS, *BESIDE], ids=lambda row: row.operation)
async def test_a_route_answers_every_caller_as_the_contract_says(cast: Cast, row: Row) -> None:
    # of an account and its things each has two ways to come; where a key and a token are the same to the contract, one
    same = row.kind in {"open", "absent"} or row.kind.startswith("data")
    turn = ROWS.index(row) if row in ROWS else 0
    callers = cast.each_once(row.scope, turn) if same else list(cast.everybody(row.scope))
    assert await faults_of(cast, row, callers) == {}


async def test_every_indicator_answers_every_caller_by_their_tier(cast: Cast) -> None:
    asked = [(row, caller) for turn, row in enumerate(indicators()) for caller in cast.each_once(row.scope, turn)]
    room = asyncio.Semaphore(AT_ONCE)
    faults: dict[str, str] = {}

    async def ask(row: Row, caller: Caller) -> None:
        expected = answer_for(row, caller.column, caller.by)
        async with room:
            answer = await cast.ask("GET", f"{row.path}?symbol=AAPL&limit=1", caller)
        if (wrong := fault(row, expected, answer)) is not None:
            faults[f"{row.operation} by {caller.name}, not {expected}"] = wrong

    await asyncio.gather(*(ask(row, caller) for row, caller in asked))
    assert faults == {}
