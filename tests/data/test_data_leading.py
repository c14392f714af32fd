"""Two processes share a state folder: one takes the live bars, the other takes over when it dies."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from nats.js.errors import NotFoundError

from data_service.adapters.dataset import Dataset
from data_service.app import NAME
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import MARKET_STREAM, bars_subject, feed_subject
from tests.data.dataset_child import a_bar, with_bars
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS, headers_for, user
from tests.support.stack import ROOT

BARS = 120
LEADS = "this process takes the live bars"


@dataclass(frozen=True)
class Process:
    process: "subprocess.Popen[bytes]"
    log: Path
    url: str

    def logged(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")


@contextmanager
def running(state: Path, log: Path, redis_url: str, nats_url: str) -> Iterator[Process]:
    with socket.socket() as listener, log.open("wb") as output:
        listener.bind(("127.0.0.1", 0))
        own = {"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "REDIS_URL": redis_url, "NATS_URL": nats_url}
        place = {"DATA_STATE_DIR": str(state), "DATA_FD": str(listener.fileno())}
        process = subprocess.Popen(
            [sys.executable, "-m", "data_service"],
            cwd=ROOT,
            env={**os.environ, **own, **place},
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield Process(process, log, url)
    finally:
        process.kill()
        process.wait()


async def version_told(bus: EventBus, symbol: str) -> str:
    message = await bus.jetstream.get_last_msg(MARKET_STREAM, bars_subject(symbol))
    return (message.data or b"").decode()


@pytest.mark.timeout(180)
async def test_a_second_process_takes_over_and_nothing_is_lost_or_doubled(tmp_path: Path, redis_url: str, nats_url: str) -> None:
    symbol = f"T{new_id().hex[:16].upper()}"
    days = [str(np.datetime64("2020-01-01", "D") + np.timedelta64(day, "D")) for day in range(BARS)]
    state = tmp_path / "state"
    with (
        running(state, tmp_path / "one.log", redis_url, nats_url) as one,
        running(state, tmp_path / "two.log", redis_url, nats_url) as two,
    ):

        async def led() -> bool:
            return one.logged(LEADS) or two.logged(LEADS)

        await until(led, seconds=60, what="a leader")
        leader, other = (one, two) if one.logged(LEADS) else (two, one)
        assert not other.logged(LEADS)

        async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
            dataset = Dataset(state, None)

            def stored() -> list[str]:
                snapshot = dataset.snapshot()
                return [str(day) for day in snapshot[symbol].date] if symbol in snapshot else []

            for number, day in enumerate(days):
                bar = {"date": day, **dict.fromkeys(("open", "high", "low", "close"), 10.0 + number), "volume": 1.0}
                fact = {"symbol": symbol, "interval": "1day", "bar": bar, "final": True, "sequence": number}
                await bus.publish(feed_subject("test"), fact)
                if number == BARS // 2:

                    async def some() -> bool:
                        return bool(stored())

                    await until(some, what="the first bars")
                    leader.process.send_signal(signal.SIGKILL)

            async def all_there() -> bool:
                return len(stored()) >= BARS

            await until(all_there, seconds=60, what="every bar")
            assert stored() == days
            assert dataset.snapshot()[symbol].close.tolist() == [10.0 + number for number in range(BARS)]
            assert other.logged(LEADS)
            version = dataset.snapshot()[symbol].data_version

            async def told() -> bool:
                return version in await version_told(bus, symbol)

            await until(told, what="the newest version")

        async with httpx.AsyncClient(base_url=other.url, trust_env=False) as client:
            answer = await client.get(f"/api/v1/bars/{symbol}?limit=1&order=desc", headers=headers_for(user(), NAME))
        assert answer.json()["provenance"]["data_version"] == version


async def test_a_commit_of_another_process_is_announced(tmp_path: Path, redis_url: str, nats_url: str) -> None:
    """As `kalpi data import` makes one, beside a running service."""
    symbol = f"T{new_id().hex[:16].upper()}"
    with running(tmp_path / "state", tmp_path / "log", redis_url, nats_url) as one:

        async def leads() -> bool:
            return one.logged(LEADS)

        await until(leads, seconds=60, what="the leader")
        (changed,) = Dataset(tmp_path / "state", None).commit(with_bars(symbol, [a_bar("2020-01-01", 1.0)]))
        async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:

            async def told() -> bool:
                try:
                    return changed.data_version in await version_told(bus, symbol)
                except NotFoundError:
                    return False

            await until(told, what="the fact")
