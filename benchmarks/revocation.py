"""How long a credential still works once its end was asked for, on the gateway that was asked and on another.

Run by `make bench-revocation`. A whole stack, and a second gateway beside its first, on a port of its own and with the same
auth-service, NATS and Redis. In a trial an API key, in every second one a session's access token, is used on both, so that both
remember it; then it is ended through one of the two, in turns, and both are asked without a pause until they refuse it. They must
go on refusing it. Facts alone can do that in less than the ten seconds for which a gateway remembers a caller.

Measured to the arrival of the first 401: from sending what ends the credential, which counts the whole of that call too; and from
its answer, after which the asking begins, so that one call is the least there can be.
"""

import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from tests.support.accounts import log_in
from tests.support.gateway_process import gateway_process
from tests.support.stack import Stack, running_stack

TRIALS = 200
TARGET_S = 1.0
LONGEST_S = 20.0
"""Twice as long as a gateway remembers a caller: what works still was not ended."""
KINDS = ("API key", "session")
PLACES = ("it was ended through", "beside it")
KEYS = "/api/v1/auth/api-keys"
DATA = "/api/v1/symbols"
USER = "demo-enterprise"
PLANS = """
anonymous_ip: {quota: 100000}
tiers:
  free: &ample
    limits: {day: 100000000, concurrency: 1000}
    entitlements: {indicators: all, batch_series: 5}
  pro: *ample
  premium: *ample
  enterprise: *ample
"""
"""Counted as in life, and nothing refused: each trial makes four calls that are none of a known caller's."""


@dataclass(frozen=True)
class Credential:
    headers: Mapping[str, str]
    end: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Trial:
    """Seconds since the call that ended it was sent: to that call's answer, and to the first refusal by each of `PLACES`."""

    kind: str
    answered: float
    refused: tuple[float, float]


async def new_key(gateway: httpx.AsyncClient, owner: Mapping[str, str]) -> Credential:
    made = (await gateway.post(KEYS, json={"name": "bench"}, headers=owner)).raise_for_status().json()
    return Credential({"X-API-Key": made["api_key"]}, lambda through: through.delete(f"{KEYS}/{made['id']}", headers=owner))


async def new_session(gateway: httpx.AsyncClient, password: str) -> Credential:
    access_token, refresh_token = await log_in(gateway, USER, password)
    body = {"refresh_token": refresh_token}
    return Credential({"Authorization": f"Bearer {access_token}"}, lambda through: through.post("/api/v1/auth/logout", json=body))


async def is_refused(gateway: httpx.AsyncClient, credential: Credential) -> bool:
    answer = await gateway.get(DATA, headers=credential.headers)
    if answer.status_code not in {200, 401}:
        raise RuntimeError(f"neither served nor refused: {answer.status_code} {answer.text}")
    return answer.status_code == 401


async def first_refusal(gateway: httpx.AsyncClient, credential: Credential) -> float:
    """When it came, by the clock of `time.perf_counter`."""
    async with asyncio.timeout(LONGEST_S):
        while not await is_refused(gateway, credential):
            pass
    return time.perf_counter()


async def trial(kind: str, credential: Credential, through: httpx.AsyncClient, other: httpx.AsyncClient) -> Trial:
    both = (through, other)
    if any([await is_refused(gateway, credential) for gateway in both]):
        raise RuntimeError(f"a new {kind} is refused")
    sent = time.perf_counter()
    (await credential.end(through)).raise_for_status()
    answered = time.perf_counter()
    first, second = await asyncio.gather(*(first_refusal(gateway, credential) for gateway in both))
    if not all([await is_refused(gateway, credential) for gateway in both]):
        raise RuntimeError(f"a {kind} that was refused works again")
    return Trial(kind, answered - sent, (first - sent, second - sent))


async def trials(stack: Stack, second_url: str) -> list[Trial]:
    password = json.loads((stack.home / "secrets.json").read_text())[USER]
    owner = stack.key("enterprise")
    done = []
    async with (
        httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as first,
        httpx.AsyncClient(base_url=second_url, timeout=10, trust_env=False) as second,
    ):
        for number in range(TRIALS):
            kind = KINDS[number % 2]
            through, other = (first, second) if number // 2 % 2 == 0 else (second, first)
            credential = await (new_key(through, owner) if kind == "API key" else new_session(through, password))
            done.append(await trial(kind, credential, through, other))
    return done


def p99(seconds: list[float]) -> float:
    """The least that 99 of 100 do not pass: one that was measured, nothing between two."""
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]


def row(seconds: list[float]) -> list[str]:
    """p50, p99 and the longest, in ms."""
    return [f"{value * 1e3:,.1f}" for value in (statistics.median(seconds), p99(seconds), max(seconds))]


def table_of(done: list[Trial]) -> Table:
    table = Table("gateway", "credential", "since", "p50", "p99", "max", title=f"ms to the first 401, {len(done)} trials")
    for (place, name), kinds in product(enumerate(PLACES), [(kind,) for kind in KINDS] + [KINDS]):
        chosen = [one for one in done if one.kind in kinds]
        table.add_row(name, " or ".join(kinds), "sent", *row([one.refused[place] for one in chosen]))
        table.add_row("", "", "answered", *row([one.refused[place] - one.answered for one in chosen]))
    return table


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        plans = Path(name) / "plans.yaml"
        plans.write_text(PLANS)
        with (
            running_stack(Path(name), {"RATELIMIT_PLANS_PATH": str(plans)}) as stack,
            gateway_process(stack, "second-gateway") as second,
        ):
            done = asyncio.run(trials(stack, second.url))
    console = Console()
    console.print(table_of(done))
    for place, name in enumerate(PLACES):
        reached = p99([one.refused[place] for one in done])
        verdict = "met" if reached <= TARGET_S else "MISSED"
        console.print(f"p99 since sent, the gateway {name}: {reached:.3f} s, target {TARGET_S:.0f} s: {verdict}")


if __name__ == "__main__":
    main()
