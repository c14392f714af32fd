"""Importing into the store on the disk: by the command, under kill -9 at every step, and on a full disk."""

import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_service.adapters.dataset import Dataset
from data_service.commands import app
from tests.data.small_disk import run_on_a_small_disk
from tests.data.test_data_import import GOOD, HEADER, csv, frame_of, parquet, sample
from tests.data.test_data_import_child import import_and_die, versions

NEW = "NEW,2013-03-04,1,1,1,1,1"
runner = CliRunner(env={"COLUMNS": "160"})


def command(state: Path, *arguments: str | Path) -> tuple[int, str]:
    result = runner.invoke(app, ["import", *map(str, arguments), "--state", str(state)])
    return result.exit_code, result.output


def test_the_command_imports_and_says_what_changed(tmp_path: Path) -> None:
    before = versions(tmp_path / "state")
    (tmp_path / "one.csv").write_bytes(csv(GOOD))
    (tmp_path / "two.parquet").write_bytes(parquet(frame_of(sample()[:1])))
    code, said = command(tmp_path / "state", tmp_path / "one.csv", tmp_path / "two.parquet")
    assert code == 0, said
    assert "3,271 rows of 2 symbols: 1 symbols changed" in said
    assert "2013-03-04" in said
    after = versions(tmp_path / "state")
    assert {symbol for symbol in after if after[symbol] != before[symbol]} == {"IBM"}


def test_a_dry_run_of_the_command_changes_nothing(tmp_path: Path) -> None:
    before = versions(tmp_path / "state")
    (tmp_path / "one.csv").write_bytes(csv(GOOD + ",X", header=HEADER.replace("close", "last") + ",venue"))
    code, said = command(tmp_path / "state", tmp_path / "one.csv", "--dry-run", "--map", "last=close", "--map", "venue=")
    assert (code, "1 symbols would change" in said) == (0, True), said
    assert versions(tmp_path / "state") == before


def test_the_command_shows_the_first_faults_and_their_number(tmp_path: Path) -> None:
    before = versions(tmp_path / "state")
    (tmp_path / "bad.csv").write_bytes(csv(*(f"S{number},2013-03-05,x,12,9,11,1" for number in range(30))))
    code, said = command(tmp_path / "state", tmp_path / "bad.csv")
    assert code == 1
    assert said.count("not a number") == 20
    assert "nothing is imported: 30 faults, the first 20 of them above" in said
    assert versions(tmp_path / "state") == before


@pytest.mark.parametrize("mapping", ["close", "=close", "last=price"])
def test_the_command_refuses_a_mapping_it_does_not_understand(tmp_path: Path, mapping: str) -> None:
    (tmp_path / "one.csv").write_bytes(csv(GOOD))
    code, said = command(tmp_path / "state", tmp_path / "one.csv", "--map", mapping)
    assert (code, "name=column" in said) == (2, True)


def test_an_import_is_seen_by_a_store_that_is_open(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "state", None)
    dataset.open()
    before = dataset.snapshot()
    (tmp_path / "one.csv").write_bytes(csv(GOOD, NEW))
    assert command(tmp_path / "state", tmp_path / "one.csv")[0] == 0
    assert "NEW" in dataset.snapshot()
    assert "NEW" not in before


def test_what_was_imported_outlives_the_segments(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_bytes(
        csv("NEW,2013-03-04,1,1,1,1,1,1", "NEW,2013-03-05,1,1,1,1,1,2", header=f"{HEADER},adj_close")
    )
    assert command(tmp_path / "state", tmp_path / "one.csv")[0] == 0
    before = versions(tmp_path / "state")
    for path in (tmp_path / "state/segments").iterdir():
        path.unlink()
    assert versions(tmp_path / "state") == before
    dataset = Dataset(tmp_path / "state", None)
    dataset.open()
    assert [split.ratio for split in dataset.snapshot()["NEW"].splits] == [2.0]


def test_an_import_killed_at_any_step_has_happened_or_has_not(tmp_path: Path) -> None:
    context = get_context("forkserver")
    file = tmp_path / "one.csv"
    file.write_bytes(csv(GOOD, NEW, "AAPL,2005-06-01,40,41,39,40,5"))
    before = versions(tmp_path / "new")
    seen: set[bool] = set()
    for step in range(1, 200):
        state = tmp_path / str(step)
        shutil.copytree(tmp_path / "new", state)
        child = context.Process(target=import_and_die, args=(state, file, step))
        child.start()
        child.join(60)
        after = versions(state)
        changed = {symbol for symbol in after if after[symbol] != before.get(symbol)}
        assert changed in (set(), {"AAPL", "IBM", "NEW"}), step
        seen.add(bool(changed))
        assert command(state, file)[0] == 0, "and it can be done again"
        assert {"AAPL", "IBM", "NEW"} <= {symbol for symbol, version in versions(state).items() if version != before.get(symbol)}
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL, step
    else:
        pytest.fail("there was no end of steps")
    assert seen == {True, False}


def test_an_import_on_a_full_disk_is_refused_whole(tmp_path: Path) -> None:
    child = "tests.data.test_data_import_child"
    imports, number, same = run_on_a_small_disk(tmp_path / "small", child, str(tmp_path / "full.csv"))
    assert (int(imports) > 0, int(number), same) == (True, 28, "True")
