"""Stored bars played again: their order, their pace, their states, on a real NATS; and the commands."""

import asyncio
import datetime as dt
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from typer.testing import CliRunner

from data_service.adapters.parquet import sample_path
from data_service.domain.bars import Bar, Bars
from data_service.domain.checks import faults_of
from data_service.domain.synthetic import universe
from data_service.providers import commands
from data_service.providers.backoff import Backoff
from data_service.providers.base import ProviderError
from data_service.providers.files import Files
from data_service.providers.replay import SUBJECT, Pace, Played, bars_in_order, facts, replay
from kalpi_local.servers import Nats
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import FEED_STREAM, FEED_SUBJECTS
from tests.data.sources import read_bars

START = dt.date(2025, 12, 1)
UNIVERSE = list(universe(3, 1, seed=3))
DAYS = int((UNIVERSE[0].date >= np.datetime64(START)).sum())


class Time:
    """Stands still but for sleeps, and what publishing costs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


class Recorder:
    def __init__(self, time: Time, cost_s: float = 0.0, trouble: int = 0) -> None:
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.ids: list[UUID | None] = []
        self._time, self._cost_s, self._trouble = time, cost_s, trouble

    async def publish(self, subject: str, data: dict[str, Any], *, fact_id: UUID | None = None) -> None:
        assert subject == SUBJECT
        self.ids.append(fact_id)
        if self._trouble:
            self._trouble -= 1
            raise Unavailable("away")
        self.sent.append((self._time.now, data))
        self._time.now += self._cost_s


async def play(recorder: Any, time: Time, pace: Pace | None = None, **options: Any) -> Played:
    return await replay(
        UNIVERSE,
        options.pop("start", START),
        recorder,
        pace=pace or Pace(),
        sleep=time.sleep,
        monotonic=time.monotonic,
        random=lambda: 0.0,
        new_id=new_id,
        **options,
    )


def keys(recorder: Recorder) -> list[tuple[str, str]]:
    return [(data["bar"]["date"], data["symbol"]) for _, data in recorder.sent]


async def test_bars_come_in_the_order_of_their_days_across_symbols_from_the_start_on() -> None:
    recorder = Recorder(time := Time())
    played = await play(recorder, time)
    expected = sorted((str(day), bars.symbol) for bars in UNIVERSE for day in bars.date if day >= np.datetime64(START))
    assert keys(recorder) == expected
    assert (played.bars, played.facts, played.date) == (len(expected), len(expected), dt.date(2025, 12, 31))
    assert time.sleeps == []


async def test_a_fact_is_one_that_data_services_feed_knows() -> None:
    recorder = Recorder(time := Time())
    await play(recorder, time, most=1, with_sequence=False)
    bars = UNIVERSE[0]
    at = int(np.searchsorted(bars.date, np.datetime64(START)))
    values = {name: getattr(bars, name)[at] for name in ("open", "high", "low", "close", "volume")}
    assert recorder.sent[0][1] == {
        "symbol": "SYN00001",
        "interval": "1day",
        "bar": {"date": "2025-12-01", **values},
        "final": True,
    }


async def test_sequences_begin_where_they_are_told_and_grow_by_one() -> None:
    recorder = Recorder(time := Time())
    await play(recorder, time, Pace(forming=1), most=4, first_sequence=900)
    assert [data["sequence"] for _, data in recorder.sent] == list(range(900, 908))


async def test_the_pace_is_bars_a_second_and_forming_states_are_spread_evenly() -> None:
    recorder = Recorder(time := Time())
    await play(recorder, time, Pace(bars_per_s=4, forming=1), most=3)
    assert [at - 1000 for at, _ in recorder.sent] == [0, 0.125, 0.25, 0.375, 0.5, 0.625]
    assert [data["final"] for _, data in recorder.sent] == [False, True] * 3


async def test_what_publishing_takes_is_made_up_for() -> None:
    recorder = Recorder(time := Time(), cost_s=0.2)
    await play(recorder, time, Pace(bars_per_s=4), most=5)
    assert [at - 1000 for at, _ in recorder.sent] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


async def test_a_fact_that_nats_did_not_take_is_sent_again_under_its_id() -> None:
    recorder = Recorder(time := Time(), trouble=2)
    played = await play(recorder, time, most=2)
    assert (played.facts, len(set(recorder.ids[:3])), len(set(recorder.ids))) == (2, 1, 2)
    assert time.sleeps == [0.5, 1.0]


async def test_it_ends_when_nats_stays_away() -> None:
    recorder = Recorder(time := Time(), trouble=99)
    with pytest.raises(Unavailable):
        await play(recorder, time, backoff=Backoff(tries=3))
    assert len(recorder.ids) == 3


async def test_who_cancels_knows_what_was_played() -> None:
    recorder, played, waiting = Recorder(time := Time()), Played(), asyncio.Event()

    async def third_sleep_never_ends(seconds: float) -> None:
        await Time.sleep(time, seconds)
        if len(time.sleeps) == 3:
            waiting.set()
            await asyncio.Event().wait()

    time.sleep = third_sleep_never_ends  # type: ignore[method-assign]
    task = asyncio.create_task(play(recorder, time, Pace(bars_per_s=1), played=played))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (played.bars, len(recorder.sent)) == (3, 3)


prices = st.floats(0.01, 1e6)


@given(prices, prices, prices, prices, st.floats(0, 1e12), st.integers(1, 9))
def test_a_forming_bar_is_sound_and_only_widens_until_it_is_final(
    opened: float, close: float, one: float, other: float, volume: float, forming: int
) -> None:
    bar = Bar(np.datetime64("2025-01-02", "D"), opened, max(opened, close, one), min(opened, close, other), close, volume)
    states = [data["bar"] for data in facts([("X", bar)], forming=forming)]
    assert len(states) == forming + 1
    for state in states:
        columns: dict[str, Any] = {name: np.array([state[name]]) for name in ("open", "high", "low", "close", "volume")}
        assert not faults_of(Bars("X", np.array(["2025-01-02"], "datetime64[D]"), adj_close=columns["close"], **columns))
    for before, after in pairwise(states):
        assert before["open"] == after["open"]
        assert after["high"] >= before["high"] * (1 - 1e-12)
        assert after["low"] <= before["low"] * (1 + 1e-12)
        assert before["volume"] <= after["volume"]


def test_bars_are_merged_one_at_a_time() -> None:
    first = next(bars_in_order(universe(50, 1, seed=1), START))
    assert (first[0], str(first[1].date)) == ("SYN00001", "2025-12-01")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """Of its own: what lies on the feed of the common one would be taken by the apps of other tests."""
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bus(server: Nats) -> AsyncIterator[EventBus]:
    """Has declared the stream, as data-service does."""
    async with EventBus(server.url, service="test", clock=system_clock, new_id=new_id) as bus:
        await bus.streams.declare(FEED_STREAM, [FEED_SUBJECTS], max_age_s=60, max_bytes=1 << 20)
        yield bus


async def heard(client: Client, work: Any, count: int) -> list[dict[str, Any]]:
    """What a plain subscriber gets while `work` runs."""
    subscription = await client.subscribe("kalpi.market.feed.v1.replay")
    await client.flush()
    await work
    return [orjson.loads((await subscription.next_msg(timeout=10)).data) for _ in range(count)]


async def test_on_nats_a_subscriber_hears_every_fact_in_order(bus: EventBus) -> None:
    time = Time()
    messages = await heard(bus.client, play(bus, time, Pace(bars_per_s=100, forming=1)), DAYS * 3 * 2)
    assert {message["type"] for message in messages} == {"kalpi.market.feed.v1.replay"}
    assert [message["data"]["sequence"] for message in messages] == list(range(DAYS * 6))
    assert [message["data"]["final"] for message in messages] == [False, True] * (DAYS * 3)
    order = [(message["data"]["bar"]["date"], message["data"]["symbol"]) for message in messages]
    assert order == sorted(order)
    assert (await bus.jetstream.stream_info(FEED_STREAM)).state.messages == DAYS * 6


async def test_the_command_plays_the_sample(bus: EventBus, server: Nats) -> None:
    line = ["replay", "aapl", "IBM", "--start", "2013-02-27", "--nats", server.url, "--no-sequence", "--forming", "1"]
    # in a thread: the command runs a loop of its own
    command = asyncio.to_thread(CliRunner().invoke, commands.app, line)
    task = asyncio.ensure_future(command)
    messages = await heard(bus.client, task, 2)
    assert (task.result().exit_code, "bars played, the last one of 2013-03-01" in task.result().output) == (0, True)
    assert [message["data"]["symbol"] for message in messages] == ["AAPL", "AAPL"]
    assert "sequence" not in messages[0]["data"]


async def test_ctrl_c_ends_the_command_which_says_how_far_it_came(bus: EventBus, server: Nats) -> None:
    subscription = await bus.client.subscribe(SUBJECT)
    await bus.client.flush()
    code = "from data_service.providers.commands import app; app()"
    # minutes of bars; when the second one is heard, the first is acknowledged
    line = ["replay", "AAPL", "--start", "2000-01-01", "--nats", server.url, "--speed", "20"]
    command = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *line, stderr=subprocess.PIPE)
    for _ in range(2):
        await subscription.next_msg(timeout=30)
    command.send_signal(signal.SIGINT)
    _, errors = await command.communicate()
    assert command.returncode == 130
    assert re.fullmatch(r"[1-9]\d* bars played, the last one of 2000-\d\d-\d\d\n", errors.decode())


def test_the_command_says_when_nats_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_CONNECT_S", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        line = ["replay", "AAPL", "--start", "2013-01-01", "--nats", f"nats://me:secret@127.0.0.1:{closed.getsockname()[1]}"]
        done = CliRunner().invoke(commands.app, line)
    assert (done.exit_code, "NATS does not answer" in done.output, "secret" in done.output) == (1, True, False)


def test_a_run_that_goes_on_the_day_after_keeps_its_first_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sample_path() as sample:
        line = ["fetch", "files", "--source", str(sample), "--start", "2000-01-01", "--out", str(tmp_path)]
        for day, symbol in enumerate(("AAPL", "IBM"), 3):
            monkeypatch.setattr(commands, "system_clock", lambda day=day: dt.datetime(2012, 1, day, 9, tzinfo=dt.UTC))
            done = CliRunner().invoke(commands.app, [*line, symbol])
            assert done.exit_code == 0, done.output
    # the 2nd of January was a holiday
    assert [str(bars.date[-1]) for bars in read_bars(tmp_path)] == ["2011-12-30"] * 2
    assert orjson.loads((tmp_path / "fetch.json").read_bytes())["end"] == "2012-01-02"


def test_the_command_fetches_files_into_a_folder_and_goes_on_there(tmp_path: Path) -> None:
    with sample_path() as sample:
        line = [
            "fetch",
            "files",
            "--source",
            str(sample),
            "--start",
            "2010-01-01",
            "--end",
            "2012-12-31",
            "--out",
            str(tmp_path / "out"),
        ]
        first = CliRunner().invoke(commands.app, [*line, "AAPL"])
        second = CliRunner().invoke(commands.app, line)
        other = CliRunner().invoke(commands.app, [*line, "--start", "2011-01-01"])
        whole = {bars.symbol: bars for bars in read_bars(sample)}
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "4 symbols fetched" in second.output
    assert "1 were there" in second.output
    assert (other.exit_code, "choose another folder" in other.output) == (1, True)
    stored = {bars.symbol: bars for bars in read_bars(tmp_path / "out")}
    assert sorted(stored) == sorted(whole)
    assert stored["AAPL"].close[-1] == whole["AAPL"].close[whole["AAPL"].date <= np.datetime64("2012-12-31")][-1]


def test_the_command_names_what_is_unknown_and_what_is_missing(tmp_path: Path) -> None:
    out = ["--start", "2010-01-01", "--out", str(tmp_path)]
    with sample_path() as sample:
        unknown = CliRunner().invoke(commands.app, ["fetch", "files", "NOPE", "--source", str(sample), *out])
    yahoo = CliRunner().invoke(commands.app, ["fetch", "yahoo", "AAPL", "--start", "2010-01-01", "--out", str(tmp_path / "y")])
    assert (unknown.exit_code, "no file has NOPE" in unknown.output) == (1, True)
    assert (yahoo.exit_code, "kalpi-data-service[yahoo]" in yahoo.output) == (1, True)
    early = CliRunner().invoke(commands.app, ["fetch", "yahoo", "AAPL", "--start", "2999-01-01", "--out", str(tmp_path / "z")])
    assert (early.exit_code, "there is no day" in early.output) == (1, True)


def test_bars_of_a_minute_are_played_with_their_moment(tmp_path: Path) -> None:
    folder = tmp_path / "1min"
    folder.mkdir()
    (folder / "x.csv").write_text(
        "date,open,high,low,close,volume\n2024-03-07T09:31:00-0500,1,2,1,2,5\n2024-03-07T09:30:00-0500,1,1,1,1,5\n"
    )
    stored = Files(tmp_path, "1min").history("X", dt.date.min, dt.date.max)
    assert stored.key == "X:1min:2024-03"
    played = list(facts(bars_in_order([stored], dt.date(2024, 1, 1)), interval="1min", with_sequence=False))
    assert [(data["interval"], data["bar"]["date"], data["bar"]["close"]) for data in played] == [
        ("1min", "2024-03-07T14:30:00Z", 1.0),
        ("1min", "2024-03-07T14:31:00Z", 2.0),
    ]
    with pytest.raises(ProviderError, match="5min"):
        Files(tmp_path, "5min")
