"""The store on the disk: what was committed is there, whole, for every process, whatever happens to the one that wrote it."""

import signal
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_service.adapters import dataset as module
from data_service.adapters import manifest as manifest_module
from data_service.adapters.dataset import Dataset
from data_service.adapters.parquet import sample_path, write_dataset
from data_service.domain.bars import Bar, Bars, Listing
from data_service.domain.errors import UnfitBars
from data_service.domain.ports import Snapshot
from data_service.domain.synthetic import universe
from tests.data.dataset_child import a_bar, commit_and_die, with_bars
from tests.data.small_disk import run_on_a_small_disk
from tests.data.sources import read_bars

ENOSPC = 28
COLUMNS = ("date", "open", "high", "low", "close", "volume", "adj_close")


def opened(folder: Path, source: Path | None = None) -> Dataset:
    dataset = Dataset(folder, source)
    dataset.open()
    return dataset


def versions(snapshot: Snapshot) -> dict[str, str]:
    return {symbol: snapshot[symbol].data_version for symbol in snapshot}


def hashed_anew(bars: Bars) -> str:
    """The version of the bars as they are, not the one that was remembered."""
    columns: dict[str, Any] = {name: np.array(getattr(bars, name)) for name in COLUMNS}
    return Bars(bars.key, splits=bars.splits, listing=bars.listing, **columns).data_version


def test_what_is_opened_is_the_source(tmp_path: Path) -> None:
    snapshot = opened(tmp_path).snapshot()
    with sample_path() as folder:
        expected = {bars.symbol: bars for bars in read_bars(folder)}
    assert list(snapshot) == sorted(expected)
    for symbol, bars in expected.items():
        assert hashed_anew(snapshot[symbol]) == bars.data_version == snapshot[symbol].data_version
        assert snapshot[symbol].splits == bars.splits
    assert "NOSUCH" not in snapshot
    with pytest.raises(KeyError):
        _ = snapshot["NOSUCH"]


def test_bars_are_views_that_nobody_can_write_to(tmp_path: Path) -> None:
    bars = opened(tmp_path).snapshot()["IBM"]
    for name in COLUMNS:
        column = getattr(bars, name)
        assert not column.flags.owndata
        assert column.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]


def test_a_commit_is_seen_by_every_process_and_by_the_next_life(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path), opened(tmp_path)
    before = reader.snapshot()
    changed = writer.commit(with_bars("IBM", [a_bar("2013-03-04", 99.0)]))
    assert [bars.symbol for bars in changed] == ["IBM"]
    for dataset in (writer, reader, opened(tmp_path)):
        assert dataset.snapshot()["IBM"].close[-1] == 99.0
        assert versions(dataset.snapshot()) == versions(before) | {"IBM": changed[0].data_version}
    assert before["IBM"].close[-1] != 99.0, "a snapshot never changes"
    assert reader.snapshot()["AAPL"] is before["AAPL"], "what did not change is the same object"


def test_a_commit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    generation = dataset.generation
    bars = dataset.snapshot()["IBM"]
    same = Bar(bars.date[5], *(float(getattr(bars, name)[5]) for name in ("open", "high", "low", "close", "volume")))
    assert dataset.commit(with_bars("IBM", [same])) == []
    assert dataset.commit(lambda _now: []) == []
    assert dataset.generation == generation


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    before = versions(dataset.snapshot())

    def unfit(_now: Snapshot) -> list[Bars]:
        raise UnfitBars(["no"])

    with pytest.raises(UnfitBars):
        dataset.commit(unfit)
    assert versions(dataset.snapshot()) == before
    assert dataset.commit(with_bars("IBM", [a_bar("2013-03-04", 99.0)])), "and the lock is free"


DAYS = st.integers(0, 400).map(lambda day: str(np.datetime64("2012-06-01", "D") + np.timedelta64(day, "D")))
COMMITS = st.lists(
    st.tuples(
        st.sampled_from(["IBM", "MSFT", "NEW.A"]),
        st.lists(st.tuples(DAYS, st.floats(1, 500)), min_size=1, max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=25)
@given(COMMITS)
def test_whatever_is_committed_the_store_is_what_a_plain_model_says(
    tmp_path_factory: pytest.TempPathFactory, commits: list[tuple[str, list[tuple[str, float]]]]
) -> None:
    """In this process, in the next, with every file merged, and with the segments lost."""
    folder = tmp_path_factory.mktemp("store")
    dataset = opened(folder)
    model = {symbol: dataset.snapshot()[symbol] for symbol in dataset.snapshot()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_FILES", 2)
        for symbol, rows in commits:
            bars = [a_bar(day, close) for day, close in rows]
            for bar in bars:
                model[symbol] = model.get(symbol, Bars.empty(symbol)).with_bar(bar)
            dataset.commit(with_bars(symbol, bars))
    expected = {symbol: hashed_anew(bars) for symbol, bars in model.items()}
    assert {symbol: hashed_anew(dataset.snapshot()[symbol]) for symbol in dataset.snapshot()} == expected
    for path in (folder / "segments").iterdir():
        path.unlink()
    again = opened(folder).snapshot()
    assert versions(again) == expected
    assert {symbol: hashed_anew(again[symbol]) for symbol in again} == expected


def test_files_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 3)
    dataset = opened(tmp_path)
    for day in range(1, 15):
        dataset.commit(with_bars("IBM", [a_bar(f"2013-04-{day:02d}", float(day))]))
    assert len(list((tmp_path / "rows").iterdir())) <= 4
    assert len(list((tmp_path / "segments").iterdir())) <= 5
    assert dataset.snapshot()["IBM"].close[-14:].tolist() == [float(day) for day in range(1, 15)]


def test_what_is_mapped_is_little_more_than_what_is_used(tmp_path: Path) -> None:
    write_dataset(tmp_path / "source", universe(20, 3, seed=3))
    dataset = opened(tmp_path / "state", tmp_path / "source")
    for symbol in list(dataset.snapshot()) * 2:
        dataset.commit(with_bars(symbol, [a_bar("2026-01-02", dataset.generation / 7)]))
        used = sum(len(dataset.snapshot()[each]) for each in dataset.snapshot()) * 56
        mapped = sum(path.stat().st_size - 128 for path in (tmp_path / "state/segments").iterdir())
        assert mapped <= used / 0.7 + 1


def test_one_symbols_update_writes_little(tmp_path: Path) -> None:
    write_dataset(tmp_path / "source", universe(50, 10, seed=3))
    dataset = opened(tmp_path / "state", tmp_path / "source")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "state").rglob("*.*")}
    dataset.commit(with_bars("SYN00007", [a_bar("2026-01-02", 5.0)]))
    new = [path for path in (tmp_path / "state").rglob("*.*") if before.get(path) != path.stat().st_mtime_ns]
    one = len(dataset.snapshot()["SYN00007"]) * 56
    assert sum(path.stat().st_size for path in new) < one + 20_000


def test_another_source_is_noticed_and_keeps_what_was_put_over_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_dataset(source, universe(3, 4, seed=1))
    first = opened(tmp_path / "state", source)
    first.commit(with_bars("SYN00001", [a_bar("2026-01-05", 77.0)]))
    first.commit(with_bars("OWN", [a_bar("2026-01-05", 5.0)]))
    for path in source.iterdir():
        path.unlink()
    write_dataset(source, universe(2, 4, seed=2))
    now = opened(tmp_path / "state", source).snapshot()
    assert list(now) == ["OWN", "SYN00001", "SYN00002"]
    expected = {bars.symbol: bars for bars in universe(2, 4, seed=2)}
    assert versions(now)["SYN00002"] == expected["SYN00002"].data_version
    assert versions(now)["SYN00001"] == expected["SYN00001"].with_bar(a_bar("2026-01-05", 77.0)).data_version


def test_an_unfit_source_leaves_what_was_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_dataset(source, universe(3, 2, seed=1))
    before = versions(opened(tmp_path / "state", source).snapshot())
    frame = pl.read_parquet(source / "bars-0000.parquet")
    frame.with_columns(close=pl.lit(-1.0)).write_parquet(source / "bars-0000.parquet")
    with pytest.raises(UnfitBars):
        opened(tmp_path / "state", source)
    write_dataset(source, universe(3, 2, seed=1))
    assert versions(opened(tmp_path / "state", source).snapshot()) == before


@pytest.fixture(scope="module")
def forks() -> object:
    """Processes that have imported everything and used nothing."""
    return get_context("forkserver")


def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, forks: object) -> None:
    seen: set[str] = set()
    for step in range(1, 200):
        folder = tmp_path / str(step)
        before = versions(opened(folder).snapshot())
        child = forks.Process(target=commit_and_die, args=(folder, step))  # type: ignore[attr-defined]  # a context's own class
        child.start()
        child.join(30)
        dataset = opened(folder)
        now = versions(dataset.snapshot())
        changed = {symbol for symbol in now if now[symbol] != before.get(symbol)}
        assert changed in (set(), {"IBM", "NEW"}), step
        assert {symbol: hashed_anew(dataset.snapshot()[symbol]) for symbol in now} == now
        named = dataset.snapshot().manifest  # type: ignore[attr-defined]  # white box: nothing is left lying about
        assert {path.name for path in (folder / "rows").iterdir()} == set(named.rows)
        assert {path.name for path in (folder / "segments").iterdir()} == set(named.used)
        assert dataset.commit(with_bars("MSFT", [a_bar("2013-03-04", 1.0)])), "and the next commit is taken"
        seen.add("new" if changed else "old")
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL, step
    else:
        pytest.fail("there was no end of steps")
    assert seen == {"old", "new"}
    assert step > 15, "it was killed at many steps"


def test_a_full_disk_refuses_the_change_whole(tmp_path: Path) -> None:
    commits, errno, same = run_on_a_small_disk(tmp_path / "small", "tests.data.dataset_child")
    assert int(commits) > 0
    assert int(errno) == ENOSPC
    assert same == "True"


def test_a_store_that_is_there_can_be_opened_as_it_is(tmp_path: Path) -> None:
    """As the import command does, in a shell that does not know what the store was made from."""
    write_dataset(tmp_path / "source", universe(3, 2, seed=1))
    before = versions(opened(tmp_path / "state", tmp_path / "source").snapshot())
    other = Dataset(tmp_path / "state", None)
    other.open(as_it_is=True)
    assert versions(other.snapshot()) == before


def test_a_source_that_was_unfit_in_part_can_be_mended(tmp_path: Path) -> None:
    for number, folder in enumerate(("one", "two")):
        write_dataset(tmp_path / folder, universe(number + 1, 2, seed=1))
    source = tmp_path / "source"
    source.mkdir()
    fit = pl.read_parquet(tmp_path / "two/bars-0000.parquet").filter(pl.col("symbol") == "SYN00002")
    pl.read_parquet(tmp_path / "one/bars-0000.parquet").write_parquet(source / "a.parquet")
    fit.with_columns(close=pl.lit(-1.0)).write_parquet(source / "b.parquet")
    with pytest.raises(UnfitBars):
        opened(tmp_path / "state", source)
    fit.write_parquet(source / "b.parquet")
    assert list(opened(tmp_path / "state", source).snapshot()) == ["SYN00001", "SYN00002"]


def test_a_commit_whose_very_last_step_fails_has_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest was replaced; only that it is on the disk is not certain."""
    dataset = opened(tmp_path)

    def broken(_folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "sync_folder", broken)
        with pytest.raises(OSError, match="Input/output"):
            dataset.commit(with_bars("IBM", [a_bar("2013-03-04", 99.0)]))
    for each in (dataset, opened(tmp_path)):
        assert each.snapshot()["IBM"].close[-1] == 99.0
    assert dataset.commit(with_bars("IBM", [a_bar("2013-03-05", 100.0)]))


def test_a_commit_is_made_although_tidying_up_after_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 0)
    dataset = opened(tmp_path)

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "merge_rows", full)
        for day in ("2013-03-04", "2013-03-05"):
            assert dataset.commit(with_bars("IBM", [a_bar(day, 99.0)]))
    assert dataset.commit(with_bars("IBM", [a_bar("2013-03-06", 99.0)]))
    assert opened(tmp_path).snapshot()["IBM"].close[-3:].tolist() == [99.0] * 3


def test_splits_beside_a_single_file_are_noticed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "made", universe(1, 2, seed=1))
    source = tmp_path / "bars.parquet"
    pl.read_parquet(tmp_path / "made/bars-0000.parquet").write_parquet(source)
    assert opened(tmp_path / "state", source).snapshot()["SYN00001"].splits == ()
    (tmp_path / "splits.csv").write_text("symbol,date,ratio\nSYN00001,2025-06-02,2.0\n")
    assert len(opened(tmp_path / "state", source).snapshot()["SYN00001"].splits) == 1


def test_what_is_known_beside_bars_waits_for_them(tmp_path: Path) -> None:
    """A listing of a symbol that another source does not have."""
    for name, number in (("two", 2), ("one", 1)):
        write_dataset(tmp_path / name, universe(number, 2, seed=1))
    opened(tmp_path / "state", tmp_path / "two").commit(lambda now: [replace(now["SYN00002"], listing=Listing("XLON", "GBP"))])
    other = opened(tmp_path / "state", tmp_path / "one").snapshot()
    assert (list(other), other.symbols) == (["SYN00001"], ["SYN00001"])
    again = opened(tmp_path / "state", tmp_path / "two").snapshot()
    assert again["SYN00002"].listing == Listing("XLON", "GBP")


def test_a_symbol_of_the_source_that_is_none_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "source", universe(1, 2, seed=1))
    path = tmp_path / "source/bars-0000.parquet"
    pl.read_parquet(path).with_columns(symbol=pl.lit("NASDAQ:AAPL")).write_parquet(path)
    with pytest.raises(UnfitBars, match="'NASDAQ:AAPL' is none"):
        opened(tmp_path / "state", tmp_path / "source")


@pytest.mark.parametrize("merged", [False, True])
def test_an_adjustment_alone_leaves_the_bars_to_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: bool
) -> None:
    source = tmp_path / "source"
    made = next(universe(1, 2, seed=1))
    write_dataset(source, [made])
    dataset = opened(tmp_path / "state", source)
    if merged:
        monkeypatch.setattr(module, "MOST_FILES", 0)
    dataset.commit(lambda now: [replace(now["SYN00001"], adj_close=now["SYN00001"].adj_close * 0.5)])
    dataset.commit(with_bars("SYN00001", [a_bar(str(made.date[7]), 77.0)]))
    dataset.commit(lambda now: [replace(now["SYN00001"], adj_close=now["SYN00001"].adj_close * 0.5)])
    before = dataset.snapshot()["SYN00001"]
    for path in (tmp_path / "state/segments").iterdir():
        path.unlink()
    assert hashed_anew(opened(tmp_path / "state", source).snapshot()["SYN00001"]) == before.data_version
    corrected = replace(made, close=made.close + 0.5, high=made.high + 1)
    write_dataset(source, [corrected])
    now = opened(tmp_path / "state", source).snapshot()["SYN00001"]
    others = np.arange(len(made)) != 7
    np.testing.assert_array_equal(now.close[others], corrected.close[others])
    assert now.close[7] == 77.0
    np.testing.assert_allclose(now.adj_close / now.close, before.adj_close / before.close, rtol=1e-14)
