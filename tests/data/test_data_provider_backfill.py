"""How histories are fetched: waiting, going on after a kill, and what becomes of symbols."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_service.domain.bars import Bars, Split
from data_service.domain.synthetic import universe
from data_service.providers import backfill as module
from data_service.providers.backfill import FolderSink, Job, Journal, OtherJob, Report, backfill
from data_service.providers.backoff import Backoff, persist
from data_service.providers.base import ProviderAway, ProviderError, RateLimited, UnknownSymbol, between, kalpi_symbol
from shared.subjects import bars_subject
from tests.data.sources import read_bars

START, END = dt.date(2024, 1, 1), dt.date(2025, 12, 31)
JOB = Job("stub", START, END)
fractions = st.floats(0, 1, exclude_max=True)
durations = st.floats(0.001, 10_000)
backoffs = st.builds(Backoff, first_s=durations, most_s=durations, tries=st.integers(1, 2_000), patience_s=durations)


class Stub:
    """Three symbols; raises what is in `trouble` first, and counts the calls."""

    name = "stub"

    def __init__(self, trouble: list[Exception] | None = None) -> None:
        self.bars = {bars.symbol: bars for bars in universe(3, 3, seed=7)}
        self.bars["SYN00002"] = with_split(self.bars["SYN00002"])
        self.calls: list[str] = []
        self._trouble = trouble or []

    def symbols(self) -> list[str]:
        return list(self.bars)

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
        self.calls.append(symbol)
        if self._trouble:
            raise self._trouble.pop(0)
        if symbol not in self.bars:
            raise UnknownSymbol(f"no {symbol}")
        return between(self.bars[symbol], start, end)


def with_split(bars: Bars) -> Bars:
    return Bars(**{**vars(bars), "splits": (Split(np.datetime64("2024-06-03", "D"), 2.0),)})


class Sleeps(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def run(folder: Path, provider: Stub, symbols: list[str] | None = None, sleep: Callable[[float], None] | None = None) -> Report:
    journal = Journal(folder / "fetch.json", JOB)
    return backfill(
        provider,
        symbols or provider.symbols(),
        START,
        END,
        FolderSink(folder),
        journal,
        sleep=sleep or Sleeps(),
        random=lambda: 0.5,
    )


def assert_holds(folder: Path, provider: Stub) -> None:
    stored = {bars.symbol: bars.data_version for bars in read_bars(folder)}
    assert stored == {name: between(bars, START, END).data_version for name, bars in provider.bars.items()}


@given(backoffs, st.integers(0, 2_000), fractions)
def test_a_wait_lies_between_half_the_ceiling_and_the_ceiling_which_doubles_and_is_bounded(
    backoff: Backoff, attempt: int, random: float
) -> None:
    wait = backoff.wait_s(attempt, lambda: random)
    if attempt + 1 >= backoff.tries:
        assert wait is None
        return
    ceiling = backoff.most_s if attempt > 60 else min(backoff.first_s * 2.0**attempt, backoff.most_s)
    assert wait is not None
    assert ceiling / 2 <= wait <= ceiling <= backoff.most_s


@given(backoffs, st.integers(0, 100), fractions)
def test_waits_with_the_same_jitter_never_grow_shorter(backoff: Backoff, attempt: int, random: float) -> None:
    now, next_ = (backoff.wait_s(number, lambda: random) for number in (attempt, attempt + 1))
    assert now is None or next_ is None or now <= next_


@given(backoffs, st.integers(0, 100), fractions, st.floats(0, 20_000))
def test_a_provider_is_never_asked_before_it_wants_to_be_nor_waited_for_beyond_patience(
    backoff: Backoff, attempt: int, random: float, retry_after: float
) -> None:
    wait = backoff.wait_s(attempt, lambda: random, retry_after)
    if wait is None:
        assert retry_after > backoff.patience_s or attempt + 1 >= backoff.tries
    else:
        assert retry_after <= wait <= max(backoff.most_s, backoff.patience_s)


def test_it_persists_until_an_answer_comes_and_honours_what_the_provider_said() -> None:
    stub, sleeps = Stub([ProviderAway("503"), RateLimited("429", 30.0), ProviderAway("503")]), Sleeps()
    bars = persist(lambda: stub.history("SYN00001", START, END), Backoff(), sleep=sleeps, random=lambda: 0.0)
    assert (len(bars) > 0, sleeps) == (True, [0.5, 30.0, 2.0])


def test_who_stays_away_is_given_up_after_the_tries_and_the_last_error_tells() -> None:
    stub, sleeps = Stub([ProviderAway(str(number)) for number in range(10)]), Sleeps()
    with pytest.raises(ProviderAway, match=r"^3$"):
        persist(lambda: stub.history("SYN00001", START, END), Backoff(tries=4), sleep=sleeps, random=lambda: 0.0)
    assert len(sleeps) == 3


@pytest.mark.parametrize(
    ("native", "symbol"),
    [
        ("AAPL", "AAPL"),
        ("brk-b", "BRK-B"),
        ("0700.HK", "0700.HK"),
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT_USDT"),
        ("EURUSD=X", "EURUSD_X"),
        ("^GSPC", "GSPC"),
    ],
)
def test_a_providers_symbol_becomes_kalpis(native: str, symbol: str) -> None:
    assert kalpi_symbol(native) == symbol


@given(st.text(max_size=40))
def test_whatever_a_provider_calls_it_it_becomes_a_symbol_or_is_refused(native: str) -> None:
    try:
        symbol = kalpi_symbol(native)
    except UnknownSymbol:
        return
    bars_subject(symbol)
    assert kalpi_symbol(symbol) == symbol


def test_a_fetched_folder_is_one_the_bar_store_reads(tmp_path: Path) -> None:
    stub = Stub()
    report = run(tmp_path, stub)
    assert report.fetched == {name: len(between(bars, START, END)) for name, bars in stub.bars.items()}
    assert_holds(tmp_path, stub)


STEPS = ("SYN00001.parquet", "SYN00002.parquet", "splits.csv", "SYN00003.parquet", "fetch.json")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("target", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_run_killed_at_any_step_goes_on_without_loss_or_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, moment: str, nth: int
) -> None:
    """Before a rename: its part lies there. After it: what follows is not done."""
    rename, seen = module._rename, list[Path]()

    def dying(part: Path, path: Path) -> None:
        seen.extend([path] if path.name == target else [])
        dies = path.name == target and len(seen) == nth
        if moment == "after" or not dies:
            rename(part, path)
        if dies:
            raise Killed

    monkeypatch.setattr(module, "_rename", dying)
    stub = Stub()
    try:
        run(tmp_path, stub)
        assert len(seen) < nth, "it died where it should"
    except Killed:
        pass
    monkeypatch.undo()
    done = orjson.loads((tmp_path / "fetch.json").read_bytes())["done"] if (tmp_path / "fetch.json").exists() else {}
    again = Stub()
    report = run(tmp_path, again)
    assert report.skipped == list(done)
    assert again.calls == [name for name in again.bars if name not in done]
    assert_holds(tmp_path, again)


def test_a_provider_that_goes_away_for_good_leaves_what_is_done_to_the_next_run(tmp_path: Path) -> None:
    class Fails(Stub):
        def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
            if symbol == "SYN00003":
                raise ProviderAway("down")
            return super().history(symbol, start, end)

    with pytest.raises(ProviderAway, match="down"):
        run(tmp_path, Fails())
    stub = Stub()
    assert run(tmp_path, stub).skipped == ["SYN00001", "SYN00002"]
    assert stub.calls == ["SYN00003"]


def test_what_is_unknown_is_named_and_asked_for_again_and_the_others_are_fetched(tmp_path: Path) -> None:
    first, second = Stub(), Stub()
    for stub in (first, second):
        assert run(tmp_path, stub, ["NOPE", "SYN00001"]).unknown == {"NOPE": "no NOPE"}
    assert (first.calls, second.calls) == (["NOPE", "SYN00001"], ["NOPE"])


def test_a_symbol_with_a_bar_the_store_would_refuse_is_not_written_and_every_fault_is_named(tmp_path: Path) -> None:
    stub = Stub()
    bad = stub.bars["SYN00001"]
    high = bad.high.copy()
    high[-2:] = 0.5
    stub.bars["SYN00001"] = Bars(**{**vars(bad), "high": high})
    report = run(tmp_path, stub)
    assert report.unfit["SYN00001"] == [f"SYN00001 {day}: high: below open or close" for day in bad.date[-2:]]
    assert sorted(bars.symbol for bars in read_bars(tmp_path)) == ["SYN00002", "SYN00003"]


def test_a_symbol_without_bars_between_the_dates_is_done_and_has_no_file(tmp_path: Path) -> None:
    stub = Stub()
    stub.bars["EMPTY"] = Bars.empty("EMPTY")
    assert run(tmp_path, stub).fetched["EMPTY"] == 0
    assert not (tmp_path / "EMPTY.parquet").exists()
    assert "EMPTY" in run(tmp_path, Stub(), ["EMPTY"]).skipped


def test_a_folder_of_another_job_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, Stub())
    with pytest.raises(OtherJob, match="stub from 2024-01-01 to 2025-12-31"):
        Journal(tmp_path / "fetch.json", Job("stub", START, dt.date(2025, 6, 1)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provider": "x", "start": "soon", "end": "late", "done": {}}'])
def test_a_file_that_is_no_journal_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "fetch.json").write_text(text)
    with pytest.raises(ProviderError, match="not a journal"):
        Journal(tmp_path / "fetch.json", JOB)


def test_two_symbols_that_would_become_one_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    stub = Stub()
    with pytest.raises(ProviderError, match=r"\^SYN00001 and SYN00001 would both become SYN00001"):
        run(tmp_path, stub, ["^SYN00001", "SYN00001"])
    assert stub.calls == []


def test_progress_tells_of_every_symbol_once(tmp_path: Path) -> None:
    stub, told = Stub(), list[str]()
    backfill(
        stub,
        ["NOPE", *stub.symbols()],
        START,
        END,
        FolderSink(tmp_path),
        Journal(tmp_path / "fetch.json", JOB),
        sleep=Sleeps(),
        random=lambda: 0.0,
        progress=lambda symbol, _bars: told.append(symbol),
    )
    assert told == ["NOPE", *stub.symbols()]
