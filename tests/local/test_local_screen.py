"""What of the logs reaches the terminal, and how."""

import json
from pathlib import Path

import pytest

from kalpi_local.follow import Follower
from kalpi_local.screen import Screen


def shown(lines: list[str], capsys: pytest.CaptureFixture[str], *, requests: bool = True) -> list[str]:
    Screen().log("gateway", lines, requests=requests)
    return [line[9:] for line in capsys.readouterr().out.splitlines()]


def entry(**fields: object) -> str:
    return json.dumps({"level": "info", "timestamp": "2026-01-01T00:00:00Z", **fields})


def test_a_request_is_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = entry(event="request", method="GET", path="/api/v1/symbols/[AAPL]", status=200, ms=1.5)
    assert shown([line], capsys) == ["gateway            GET /api/v1/symbols/[AAPL] 200 1.5 ms"]
    assert shown([line], capsys, requests=False) == []


def test_warnings_and_tracebacks_are_shown_and_chatter_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        entry(event="connected"),
        entry(level="warning", event="slow", upstream="auth"),
        "Traceback (most recent call last):",
    ]
    assert shown(lines, capsys) == [
        "gateway            warning slow upstream=auth",
        "gateway            Traceback (most recent call last):",
    ]


def test_a_flood_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown([entry(level="error", event="again")] * 1000, capsys)
    assert len(lines) == 21
    assert lines[-1].endswith("980 more: kalpi logs gateway")


def test_a_follower_gives_each_new_line_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    follower = Follower(log)
    assert follower.lines() == []
    with log.open("a") as file:
        file.write("one\ntw")
    assert follower.lines() == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert follower.lines() == ["two"]
    log.replace(tmp_path / "a.1.log")
    assert follower.lines() == []
    log.write_text("new\n")
    assert follower.lines() == ["new"]


def test_a_follower_skips_to_the_newest_of_a_flood(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    follower = Follower(log)
    log.write_text("".join(f"{number:07}\n" for number in range(100_000)))
    lines = follower.lines()
    assert len(lines) < 40_000
    assert {len(line) for line in lines} == {7}
    assert lines[-1] == "0099999"
    assert follower.lines() == []
