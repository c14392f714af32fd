"""Corporate actions that are brought with the bars: adj_close follows from them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_service.domain.bars import Bar, Split
from tests.data.memory import MemoryWriter
from tests.data.test_data_import import bring, csv, faults

HEADER = "symbol,date,open,high,low,close,volume,split,dividend"
FIRST = np.datetime64("2024-01-01", "D")


def row(day: int, close: float, split: str = "", dividend: str = "") -> str:
    return f"A,{FIRST + np.timedelta64(day, 'D')},{close},{close},{close},{close},1,{split},{dividend}"


def ratios(writer: MemoryWriter) -> list[float]:
    bars = writer.bars["A"]
    return [float(ratio) for ratio in bars.adj_close / bars.close]


def test_a_split_and_a_dividend_scale_what_is_before_them() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(1, 100), row(2, 50, "2"), row(3, 50, dividend="0.5"), row(4, 49), header=HEADER))
    assert ratios(writer) == pytest.approx([0.495, 0.495, 0.99, 1, 1], rel=1e-15)
    assert writer.bars["A"].splits == (Split(FIRST + np.timedelta64(2, "D"), 2.0),)


def test_of_one_day_the_dividend_is_for_each_new_share() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(1, 49, "2", "1"), header=HEADER))
    assert ratios(writer) == pytest.approx([0.5 * (1 - 1 * 2 / 100), 1])


ACTIONS = st.tuples(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 1.5, 0.1]), st.sampled_from([0.0, 0.0, 0.25, 1.0]))


@settings(max_examples=40)  # each is up to 27 imports
@given(st.lists(st.tuples(st.floats(20, 200), ACTIONS), min_size=1, max_size=12))
def test_adj_close_is_the_product_of_all_that_is_still_to_come(days: list[tuple[float, tuple[float, float]]]) -> None:
    """Whether the rows come at once or one after the other, and however often."""
    lines = [row(day, round(close, 2), str(split), str(cash)) for day, (close, (split, cash)) in enumerate(days)]
    expected = np.ones(len(days))
    for day in range(len(days) - 1, 0, -1):
        split, cash = days[day][1]
        shares = split or 1.0
        expected[day - 1] = expected[day] * (1 - cash * shares / round(days[day - 1][0], 2)) / shares
    whole, parts = MemoryWriter(), MemoryWriter()
    bring(whole, csv(*lines, header=HEADER))
    for line in lines:
        bring(parts, csv(line, header=HEADER))
    for writer in (whole, parts):
        np.testing.assert_allclose(ratios(writer), expected, rtol=1e-12)
        assert [split.ratio for split in writer.bars["A"].splits] == [split for _, (split, _) in days if split not in {0, 1}]
        before = writer.versions()
        assert not bring(writer, csv(*lines, header=HEADER)).changed
        assert writer.versions() == before


def test_a_dividend_that_comes_later_moves_what_is_before_it_alone() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(1, 100), row(2, 100), header=HEADER))
    bring(writer, csv(row(1, 100, dividend="10"), header=HEADER))
    assert ratios(writer) == [0.9, 1.0, 1.0]
    bring(writer, csv(row(1, 100), header=HEADER))
    assert ratios(writer) == pytest.approx([1.0, 1.0, 1.0], rel=1e-15), "and is taken back"


def test_bars_that_say_nothing_of_actions_leave_them() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(1, 50, "2"), header=HEADER))
    bring(writer, csv(row(1, 51).rpartition(",,")[0]))
    assert ratios(writer) == [0.5, 1.0]
    assert len(writer.bars["A"].splits) == 1


def test_columns_are_known_by_the_names_that_others_give_them() -> None:
    writer = MemoryWriter()
    header = "Ticker,Date,Open,High,Low,Close,Volume,Dividends,Stock Splits"
    bring(writer, csv("A,2024-01-01,9,9,9,9,1,0.0,0.0", "A,2024-01-02,3,3,3,3,1,0.0,3.0", header=header))
    assert [split.ratio for split in writer.bars["A"].splits] == [3.0]


def test_with_an_adj_close_the_split_that_is_told_counts_and_not_the_jump() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 90) + ",60", row(1, 60, "1.5") + ",60", header=f"{HEADER},adj_close"))
    assert writer.bars["A"].splits == (Split(FIRST + np.timedelta64(1, "D"), 1.5),)
    assert ratios(writer) == [60 / 90, 1.0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((row(0, 100), row(1, 100, "-2")), (3, "split", "negative")),
        ((row(0, 100), row(1, 100, "1e9")), (3, "split", "no ratio of shares")),
        ((row(0, 100), row(1, 100, dividend="x")), (3, "dividend", "not a number")),
        ((row(0, 100), row(1, 100, dividend="-1")), (3, "dividend", "negative")),
        ((row(0, 100), row(1, 100, dividend="nan")), (3, "dividend", "not finite")),
        (
            (row(0, 100), row(1, 100, dividend="100")),
            (3, "close", "no adj_close in proportion to it follows from the stored bars, or from the dividend"),
        ),
    ],
)
def test_actions_that_cannot_be_are_named(lines: tuple[str, ...], expected: tuple[int, str, str]) -> None:
    assert faults(csv(*lines, header=HEADER)) == [expected]


def test_the_first_bar_has_nothing_before_it() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100, "2", "5"), row(1, 100), header=HEADER))
    assert all(math.isclose(ratio, 1) for ratio in ratios(writer))


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.0, 2.0, 1.5, 0.1]), min_size=1, max_size=10), st.data())
def test_splits_may_come_in_any_order(splits: list[float], data: st.DataObject) -> None:
    """Of a dividend this cannot be: on the first bar there is, it has nothing to scale."""
    lines = [row(day, 100, str(split)) for day, split in enumerate(splits)]
    writer = MemoryWriter()
    for line in data.draw(st.permutations(lines)):
        bring(writer, csv(line, header=HEADER))
    expected = [math.prod(1 / (split or 1) for split in splits[day + 1 :]) for day in range(len(splits))]
    np.testing.assert_allclose(ratios(writer), expected, rtol=1e-12)


def test_a_bar_between_others_takes_the_ratio_of_the_one_before() -> None:
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(2, 50, "2"), row(3, 50), header=HEADER))
    bring(writer, csv(row(1, 100).rpartition(",,")[0]))
    assert ratios(writer) == [0.5, 0.5, 1, 1]
    live = writer.bars["A"].with_bar(Bar(FIRST - np.timedelta64(1, "D"), 9.0, 9.0, 9.0, 9.0, 1.0))
    assert (live.adj_close / live.close).tolist() == [0.5, 0.5, 0.5, 1, 1]


def test_what_is_not_told_of_a_day_stays() -> None:
    """A dividend without a column of splits denies no split, and a split denies no dividend."""
    writer = MemoryWriter()
    bring(writer, csv(row(0, 100), row(1, 50, "2", "1"), row(2, 50), header=HEADER))
    before = ratios(writer)
    only = {name: HEADER.replace(f",{name}", "") for name in ("split", "dividend")}
    day = row(1, 50).rpartition(",,")[0]
    bring(writer, csv(f"{day},1", header=only["split"]))
    assert ratios(writer) == pytest.approx(before, rel=1e-12)
    bring(writer, csv(f"{day},2", header=only["dividend"]))
    assert ratios(writer) == pytest.approx(before, rel=1e-12)
    bring(writer, csv(f"{day},0", header=only["split"]))
    assert ratios(writer) == pytest.approx([0.5, 1, 1], rel=1e-12)
    assert len(writer.bars["A"].splits) == 1
