"""What a login tells by its time, and what logins do to everybody else. Run by `make bench-logins`.

The first part is a guesser's: wrong passwords for names that somebody has and for names that nobody has, in random order, asked
of auth-service directly and one at a time. The second is a user's, who reads a cached indicator through the gateway while a
hundred others log in: with each number of lanes, and with the hashing threads behind everything else (as they are) or beside it.
"""

import asyncio
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from shared.clock import system_clock
from shared.ids import new_id
from shared.principal import HEADER, EnvelopeSigner, KeyRing, Principal
from shared.tasks import end_task
from tests.support.stack import Stack, running_stack

PASSWORD = "correct horse battery"  # noqa: S105
NAMES = 30
GUESSES = 10
USERS = 20
LOGINS = 100
PACE_S = 0.02
ROUND_S = 8.0
ROUNDS = 3
LANES = (4, 1)
_SETTINGS = {
    "AUTH_IP_REGISTRATIONS_PER_MINUTE": "100000",
    "AUTH_IP_FAILURES_PER_MINUTE": "100000",
    "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
}


# ----- a guesser


class Direct:
    """auth-service past the gateway, each time from another network."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        keys = json.loads((stack.home / "secrets.json").read_text())["principal_keys"]
        self._signer = EnvelopeSigner(KeyRing.parse(keys), system_clock)
        self._url = stack.state["urls"]["auth-service"]
        self._session = session
        self._networks = 0

    async def post(self, path: str, **body: object) -> int:
        self._networks += 1
        client_ip = f"2001:db8:0:{self._networks:x}::1"
        signed = self._signer.sign(Principal.service("gateway"), audience="auth-service", client_ip=client_ip)
        async with self._session.post(f"{self._url}/api/v1/auth/{path}", headers={HEADER: signed}, **body) as answer:  # type: ignore[arg-type]
            await answer.read()
            return answer.status

    async def register(self, name: str) -> None:
        status = await self.post("register", json={"username": name, "email": f"{name}@example.com", "password": PASSWORD})
        assert status == 201, status  # noqa: S101

    async def wrong(self, name: str) -> float:
        """Milliseconds."""
        began = time.perf_counter()
        status = await self.post("login", data={"username": name, "password": "not the password"})
        assert status == 401, status  # noqa: S101
        return 1e3 * (time.perf_counter() - began)


async def guesses(stack: Stack) -> dict[str, list[float]]:
    """Milliseconds of wrong passwords, for known and for unknown names."""
    chance = random.Random(1)  # noqa: S311
    async with aiohttp.ClientSession() as session:
        direct = Direct(stack, session)
        known = [f"known-{new_id().hex[8:]}" for _ in range(NAMES)]
        unknown = [f"other-{new_id().hex[8:]}" for _ in range(NAMES)]
        for name in known:
            await direct.register(name)
        asked = [(kind, name) for kind, names in (("known", known), ("unknown", unknown)) for name in names * GUESSES]
        chance.shuffle(asked)
        took: dict[str, list[float]] = {"known": [], "unknown": []}
        for kind, name in asked:
            took[kind].append(await direct.wrong(name))
    return took


def told_apart(a: list[float], b: list[float]) -> tuple[float, float]:
    """How often one of `a` is above one of `b`, and how likely chance alone brings that so far from a half (Mann-Whitney).

    Of ranks, because times on a busy machine lie in heaps: their medians jump from one to the next.
    """
    above = statistics.mean((one > other) + (one == other) / 2 for one in a for other in b)
    spread = math.sqrt((len(a) + len(b) + 1) / (12 * len(a) * len(b)))
    return above, math.erfc(abs(above - 0.5) / spread / math.sqrt(2))


def show_guesses(console: Console, took: dict[str, list[float]]) -> None:
    title = f"{NAMES * GUESSES} of each, in random order"
    table = Table("wrong password for", "p5", "p25", "median", "p75", "p95 ms", title=title)
    for kind, times in took.items():
        cuts = statistics.quantiles(times, n=20)
        table.add_row(f"a name that is {kind}", *(f"{cuts[place]:.2f}" for place in (0, 4, 9, 14, 18)))
    console.print(table)
    known, unknown = took["known"], took["unknown"]
    above, chance = told_apart(known, unknown)
    console.print(f"medians apart: {statistics.median(known) - statistics.median(unknown):+.2f} ms")
    console.print(f"a known name takes longer than an unknown one in {above:.1%} of pairs (50%: nothing is told)")
    console.print(f"so far from a half by chance alone: p = {chance:.2f}")


# ----- everybody else


@dataclass
class Reads:
    """Milliseconds of a cached indicator, and what became of the logins beside it."""

    took: list[float] = field(default_factory=list)
    logins: Counter[int] = field(default_factory=Counter)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.took, n=100)[98]


async def read(session: aiohttp.ClientSession, stack: Stack, reads: Reads) -> None:
    """At a pace of its own, however long an answer takes: one that waits holds up none of those behind it."""

    url, key = f"{stack.url}/api/v1/indicators/rsi?symbol=AAPL&limit=250", stack.key("enterprise")

    async def one() -> None:
        began = time.perf_counter()
        async with session.get(url, headers=key) as answer:
            await answer.read()
            answer.raise_for_status()
        reads.took.append(1e3 * (time.perf_counter() - began))

    began, under_way = time.perf_counter(), []
    for number in range(int(ROUND_S / PACE_S)):
        await asyncio.sleep(max(0.0, began + number * PACE_S - time.perf_counter()))
        under_way.append(asyncio.create_task(one()))
    await asyncio.gather(*under_way)


@asynccontextmanager
async def logging_in(session: aiohttp.ClientSession, stack: Stack, names: list[str], reads: Reads) -> AsyncIterator[None]:
    """A hundred at a time, each from a network of its own; who is told to come back comes back then."""

    async def worker(number: int) -> None:
        form = {"username": names[number % len(names)], "password": PASSWORD}
        headers = {"X-Forwarded-For": f"2001:db8:1:{number:x}::1"}
        while True:
            async with session.post(f"{stack.url}/api/v1/auth/login", data=form, headers=headers) as answer:
                await answer.read()
                reads.logins[answer.status] += 1
                wait_s = float(answer.headers.get("Retry-After", 0))
            await asyncio.sleep(wait_s)

    workers = [asyncio.create_task(worker(number)) for number in range(LOGINS)]
    await asyncio.sleep(2)
    yield
    for task in workers:
        await end_task(task)


def place_hashing(stack: Stack, niceness: int) -> None:
    """Of the threads that hash, the only ones that are nicer than the rest; to raise one takes a privilege."""
    for thread in Path(f"/proc/{stack.state['services']['auth-service']['pid']}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if os.getpriority(os.PRIO_PROCESS, int(thread.name)) > 0:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)


async def disturbance(stack: Stack, places: dict[str, int]) -> dict[str, Reads]:
    """Rounds without logins and with them take turns."""
    figures = {name: Reads() for name in ("nobody logs in", *places)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        direct = Direct(stack, session)
        names = [f"user-{new_id().hex[8:]}" for _ in range(USERS)]
        for name in names:
            await direct.register(name)
        for _ in range(ROUNDS):
            await read(session, stack, figures["nobody logs in"])
            for place, niceness in places.items():
                place_hashing(stack, niceness)
                async with logging_in(session, stack, names, figures[place]):
                    await read(session, stack, figures[place])
    return figures


def show_disturbance(console: Console, lanes: int, figures: dict[str, Reads]) -> None:
    title = f"a cached RSI, {1 / PACE_S:.0f} a second; {LOGINS} logins at a time, {lanes} lanes each"
    table = Table("while", "median", "p99 ms", "p99 / idle", "logins", "503", "other", title=title)
    idle = figures["nobody logs in"]
    for name, reads in figures.items():
        row = (f"{statistics.median(reads.took):.2f}", f"{reads.p99:.1f}", f"{reads.p99 / idle.p99:.2f}")
        logins = (reads.logins[200], reads.logins[503], reads.logins.total() - reads.logins[200] - reads.logins[503])
        table.add_row(name, *row, *map(str, logins))
    console.print(table)


def places_here() -> dict[str, int]:
    # 1 and not 0, by which the threads are found again
    return {"niceness 19": 19} | ({"niceness 1": 1} if os.geteuid() == 0 else {})


def main() -> None:
    console = Console()
    for lanes in LANES:
        settings = {**_SETTINGS, "AUTH_ARGON2_PARALLELISM": str(lanes)}
        with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name, running_stack(Path(name), settings) as stack:
            if lanes == LANES[0]:
                show_guesses(console, asyncio.run(guesses(stack)))
            show_disturbance(console, lanes, asyncio.run(disturbance(stack, places_here())))


if __name__ == "__main__":
    main()
