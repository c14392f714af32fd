"""The language of expressions: what it means, what it refuses and where it says the mistake stands."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indicator_service.domain.catalogue import CATALOGUE, FUNCTIONS_BY_NAME, TALIB
from indicator_service.domain.columns import COLUMNS
from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.expressions import Expression, expression_of, program
from indicator_service.domain.expressions.arrays import both, either, inverted
from indicator_service.domain.expressions.builtins import BUILT_INS
from indicator_service.domain.expressions.expression import MOST_LOOKBACK
from indicator_service.domain.expressions.syntax import MOST_DEPTH, grammar
from indicator_service.domain.expressions.tree import extent_of, with_source
from indicator_service.domain.outputs import Outputs, Truths
from indicator_service.domain.series import Bars
from tests.indicator.expression_trees import Interpreter, numbers, truths
from tests.indicator.samples import bars_of, defaults, part, rows_of, sample, ta_lib, walk
from tests.indicator.sentences import sentences

BARS = walk(5, 40, 0.05)


def broken(bars: Bars) -> Bars:
    """With what no store lets in: a close that is missing, one that is infinite."""
    close = bars.close.copy()
    close[[9, 25]], close[[17, 39]] = math.nan, math.inf
    return replace(bars, close=close)


BROKEN = broken(BARS)


def read(text: str, **constants: Any) -> Expression:
    return expression_of(text, FUNCTIONS_BY_NAME, constants)


def listed(outputs: Outputs, name: str = "value") -> list[Any]:
    column = outputs.columns[name]
    if column.dtype.kind == "b":
        return [None if unknown else bool(true) for true, unknown in zip(column, outputs.unknown[name], strict=True)]
    return [value if math.isfinite(value) else None for value in column.tolist()]


def values(text: str, bars: Bars = BARS) -> list[Any]:
    return listed(read(text).evaluate(bars))


def with_closes(*closes: float) -> Bars:
    dates = np.datetime64("2020-01-01") + np.arange(len(closes))
    array = np.array(closes, dtype=float)
    return bars_of(dates, open=array, high=array, low=array, close=array, volume=array)


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("RSI ( 14 )\n<\t30 AND Close>SMA(close,200)", "rsi(close, time_period=14) < 30 and close > sma(close, time_period=200)"),
        (
            "bollinger_bands(20, std_dev=2.5, ma_type=EMA).Upper",
            "bbands(close, time_period=20, nbdev_up=2.5, nbdev_dn=2.5, ma_type=ema).upper",
        ),
        ("ma(hl2, 10, 'ema')", "ma(hl2, time_period=10, ma_type=ema)"),
        ("1 + 2 * 3 - -close", "7 - -1 * close"),
        ("close - (open - low)", "close - (open - low)"),
        ("not (close > open or true)", "not (close > open or true)"),
        ("close[0][-1][-2]", "close[-3]"),
        ("(close + open)[-1]", "(close + open)[-1]"),
        ("log(close)", "ln(close)"),
        ("sqrt(16) * close", "4 * close"),
        ("obv()", "obv(close)"),
        ("macd(fast_period=8)", "macd(close, fast_period=8, slow_period=26, signal_period=9)"),
        ("from_date(close, '2013-01-02')", 'from_date(close, "2013-01-02")'),
    ],
)
def test_an_expression_has_one_spelling(text: str, spelt: str) -> None:
    assert read(text).text == spelt
    assert read(spelt).root == read(text).root


@pytest.mark.parametrize(
    ("text", "at", "length", "msg", "suggestion"),
    [
        ("rsj(14) < 30", 0, 3, "no function rsj", "did you mean rsi?"),
        ("close > opne", 8, 4, "no column or function opne", "did you mean open"),
        ("rsi < 30", 0, 3, "rsi is a function", "rsi()"),
        ("close(3)", 0, 5, "close is a column", "close"),
        ("1 < close < 3", 10, 1, "not chained", "a < b and b < c"),
        ("close[1]", 6, 1, "no look-ahead", "[-1]"),
        ("close[-1.5]", 6, 4, "whole number", "close[-1]"),
        ("close[open]", 6, 4, "whole number", None),
        ("close[-100001]", 6, 7, "at most 100000", None),
        ("close and open", 0, 5, "and wants a condition", "compare it"),
        ("(close > 1) + 2", 1, 9, "+ wants a number", "where"),
        ("sma(close > 1, 3)", 4, 9, "sma wants a number", "where"),
        ("bbands() > 1", 0, 8, "several outputs", "bbands(…).upper"),
        ("macd().histo", 7, 5, "no output of macd histo", "did you mean histogram?"),
        ("rsi().value", 6, 5, "no outputs to choose", "leave it out"),
        ("rsi(1)", 4, 1, "time_period", "2 to 100000"),
        ("rsi(2.5)", 4, 3, "time_period", "whole"),
        ("rsi(close, 3, 4)", 14, 1, "one constant too many", None),
        ("rsi(close, open)", 11, 4, "one series too many", None),
        ("max(close, open)", 11, 4, "one series too many", "maximum(a, b)"),
        ("rsi(window=3, time_period=4)", 14, 13, "given twice", None),
        ("rsi(nonsense=3)", 4, 10, "no parameter nonsense", "time_period"),
        ("rsi(time_period=3, close)", 19, 5, "stands last", None),
        ("rsi(time_period=close)", 4, 17, "a constant of rsi", "2 to 100000"),
        ("bbands(ma_type=emma)", 15, 4, "emma", "did you mean ema"),
        ("macd(fast_period=30)", 5, 14, "not below slow_period", None),
        ("highest(close)", 0, 14, "takes 2, not 1", "highest"),
        ("highest(close, 0)", 15, 1, "whole number from 1", None),
        ("highest(3, 3)", 8, 1, "wants a series", None),
        ("from_date(close, 'x')", 17, 3, "is a date", '"2013-01-02"'),
        ("since(close)", 6, 5, "since wants a condition", None),
        ("close = 3", 6, 1, "= names a parameter", "== compares"),
        ("close > 1 && open > 1", 10, 1, "unexpected '&'", "and"),
        ("close >", 7, 1, "ends too early", "a number"),
        ("close\n  open", 8, 4, "unexpected 'open'", "an operator"),
        ("   ", 0, 1, "nothing to compute", "rsi(14) < 30"),
        ("'text", 0, 1, "a text without an end", None),
        ("'text'", 0, 6, "a text is no series", None),
        ("1 / 0", 4, 1, "division by zero", None),
        ("9e999", 0, 5, "no number is as large", None),
        ("ln(-1)", 0, 6, "no value here", None),
        ("close.__class__", 6, 9, "no outputs to choose", None),
        ("__import__('os')", 0, 10, "no function __import__", None),
        ("clöse", 2, 1, "unexpected 'ö'", None),
    ],
)
def test_a_mistake_is_told_at_its_place(text: str, at: int, length: int, msg: str, suggestion: str | None) -> None:
    with pytest.raises(InvalidExpression) as refused:
        expression_of(text, FUNCTIONS_BY_NAME, loc=("body", "expression"))
    (error,) = refused.value.errors
    assert (error["offset"], error["length"]) == (at, length), error
    assert (error["line"], error["column"]) == (text[:at].count("\n") + 1, at - (text[:at].rfind("\n") + 1) + 1)
    assert msg in error["msg"]
    assert suggestion is None or suggestion in error["suggestion"]
    assert error["loc"] == ["body", "expression"]
    assert error["type"].startswith("expression_")


@pytest.mark.parametrize(
    "text",
    [
        "close" + " + 1" * 1100,
        "(" * 1500 + "close",
        "-" * 4000 + "close",
        "close + " * 500 + "close",
        "(" * 99 + "-(" * 120 + "close" + ")" * 219,
        "sma(" * 1000,
        "sma(" * 3 + "close, 100000), 100000), 100000)",
        "close[-100000]" + "[-1]",
    ],
)
def test_what_is_too_large_is_refused_before_anything_is_computed(text: str) -> None:
    with pytest.raises(InvalidExpression):
        read(text)


def test_its_bounds_may_be_reached() -> None:
    assert read(" and ".join(["close > open"] * MOST_DEPTH)).kind == "booleans"
    assert read(f"sma(sma(close, {MOST_LOOKBACK // 2}), {MOST_LOOKBACK // 2})").lookback == MOST_LOOKBACK - 2


def test_names_of_the_language_are_no_indicators() -> None:
    assert not {*BUILT_INS, *COLUMNS, "true", "false", "and", "or", "not", "source"} & FUNCTIONS_BY_NAME.keys()


def test_values_of_ones_own_are_put_in_by_name() -> None:
    assert read("rsi(n) < limit", n=9, limit=25.5).text == "rsi(close, time_period=9) < 25.5"
    assert read("ma(close, 10 / 2, kind)[-(n - 1)]", kind="ema", n=4).text == "ma(close, time_period=5, ma_type=ema)[-3]"


@given(text=numbers() | truths())
def test_the_spelling_is_read_back_as_the_same_tree(text: str) -> None:
    expression = read(text)
    assert read(expression.text).root == expression.root
    assert read(expression.text.upper()).root == expression.root


@given(text=numbers() | truths())
@settings(max_examples=150)
def test_values_are_those_of_a_reading_bar_by_bar(text: str) -> None:
    """Holes and warm-ups included: what follows a hole is computed as if it began there."""
    expression = read(text)
    outputs = expression.evaluate(BARS)
    assert listed(outputs) == Interpreter(BARS).all(expression.root)


@given(text=numbers() | truths(), count=st.integers(1, 40))
def test_a_value_comes_from_the_bars_up_to_its_own(text: str, count: int) -> None:
    expression = read(text)
    known = expression.evaluate(part(BARS, slice(count)))
    assert listed(known) == values(text)[:count]


@given(text=numbers() | truths(), counts=st.lists(st.integers(1, 40), max_size=12))
@settings(max_examples=200)
def test_the_newest_values_of_many_are_the_last_of_each_to_the_last_bit(text: str, counts: list[int]) -> None:
    """Whatever there is of the others: symbols with fewer bars than are looked back on, and some that end with holes."""
    expression = read(text)
    many = [part(BARS if at % 3 else BROKEN, slice(count)) for at, count in enumerate(counts)]
    found = expression.newest(many)
    assert found == [listed(expression.evaluate(bars))[-1] for bars in many]
    assert found == [expression.newest([bars])[0] for bars in many]


@pytest.mark.parametrize("cells", [1, 50, 1 << 16])
def test_the_newest_values_do_not_depend_on_how_many_are_computed_together(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MOST_CELLS", cells)
    expression = read("crosses_above(ema(3), sma(close, 9)[-2]) or highest(close, 20) - rsi(5)[-3] > macd().signal[-1]")
    many = [part(BARS, slice(1 + at % 40)) for at in range(300)]
    assert expression.newest(many) == [listed(expression.evaluate(bars))[-1] for bars in many]


def test_an_indicator_alone_is_ta_libs_to_the_last_bit() -> None:
    bars = sample("IBM")
    for indicator in TALIB.values():
        whole = read(f"{indicator.name}()").evaluate(bars)
        expected = dict(zip(indicator.outputs, ta_lib(defaults(indicator), bars), strict=True))
        assert rows_of(whole, whole.begin) == rows_of(expected, indicator.lookback(indicator.defaults)), indicator.name


def test_an_indicator_of_an_indicator_begins_where_that_does() -> None:
    bars = sample("MSFT")
    inner = np.asarray(read("sma(close, 20)").evaluate(bars).columns["value"], dtype=float)
    later = part(bars, slice(19, None))
    expected = ta_lib(
        defaults(CATALOGUE["rsi"]),
        bars_of(later.date, **(dict.fromkeys(("open", "high", "low", "volume"), later.open) | {"close": inner[19:]})),
    )[0]
    np.testing.assert_array_equal(read("rsi(sma(close, 20), 14)").evaluate(bars).columns["value"][19:], expected)


@pytest.mark.parametrize(
    "name", ["ema", "rsi", "cmo", "macd", "kama", "stochrsi", "bbands", "dema", "trix", "tsi", "rma", "mavp"]
)
def test_a_hole_poisons_nothing(name: str) -> None:
    """Division by zero at one bar: before and after it the values are those of the pieces alone."""
    closes = walk(8, 400).close.copy()
    closes[150] = 7.0
    bars = with_closes(*closes)
    indicator = CATALOGUE[name]
    broken = ", ".join(["close / where(close == 7, 0, 1)"] * len(indicator.series_defaults))
    text = f"{name}({broken})"
    got = read(text).evaluate(bars)
    for rows in (slice(0, 150), slice(151, None)):
        alone = read(f"{name}({', '.join(['close'] * len(indicator.series_defaults))})").evaluate(part(bars, rows))
        for output in indicator.outputs:
            np.testing.assert_array_equal(got.columns[output][rows], alone.columns[output])
    assert np.isnan(got.columns[indicator.outputs[0]][150])


KLEENE = st.lists(st.tuples(*[st.sampled_from([True, False, None])] * 3), min_size=1, max_size=12)


def kleene(column: list[bool | None]) -> Truths:
    return Truths(np.array([value is True for value in column]), np.array([value is False for value in column]))


def same(a: Truths, b: Truths) -> bool:
    return bool((a.true == b.true).all() and (a.false == b.false).all())


@given(rows=KLEENE)
def test_logic_is_kleenes(rows: list[tuple[bool | None, ...]]) -> None:
    a, b, c = (kleene(list(column)) for column in zip(*rows, strict=True))
    assert same(inverted(inverted(a)), a)
    assert same(inverted(both(a, b)), either(inverted(a), inverted(b)))
    assert same(both(a, b), both(b, a))
    assert same(both(a, both(b, c)), both(both(a, b), c))
    assert same(both(a, either(b, c)), either(both(a, b), both(a, c)))
    assert same(either(a, both(a, b)), a)
    assert not (both(a, b).true & both(a, b).false).any()
    assert both(a, b).true.tolist() == [x is True and y is True for x, y, _ in rows]
    assert both(a, b).false.tolist() == [x is False or y is False for x, y, _ in rows]


def test_a_comparison_with_nothing_is_unknown() -> None:
    bars = with_closes(1, 2, 3)
    assert values("close[-1] < close", bars) == [None, True, True]
    assert values("not close[-1] < close", bars) == [None, False, False]
    assert values("close[-1] < close or close > 0", bars) == [True, True, True]
    assert values("close[-1] < close and close > 9", bars) == [False, False, False]
    assert values("close / 0 == close / 0", bars) == [None, None, None]
    assert values("missing(close[-1])", bars) == [True, False, False]


def test_the_built_ins_are_what_they_say() -> None:
    bars = with_closes(1, 2, 3, 2, 2, 5, 6, 7)
    assert values("crosses_above(close, 2)", bars) == [False, False, True, False, False, True, False, False]
    assert values("crosses_below(close, 3)", bars) == [None, False, False, True, False, False, False, False]
    assert values("rising(close, 2)", bars) == [None, None, True, False, False, False, True, True]
    assert values("falling(close, 1)", bars) == [None, False, False, True, False, False, False, False]
    assert values("since(close == 2)", bars) == [None, 0, 1, 0, 0, 1, 2, 3]
    assert values("streak(close > close[-1])", bars) == [None, 1, 2, 0, 0, 1, 2, 3]
    assert values("highest(close, 3)", bars) == [None, None, 3, 3, 3, 5, 6, 7]
    assert values("lowest(close, 1)", bars) == [1, 2, 3, 2, 2, 5, 6, 7]
    assert values("where(close > 2, 1, -1)", bars) == [-1, -1, 1, -1, -1, 1, 1, 1]
    assert values("coalesce(close[-7], 0)", bars) == [0] * 7 + [1]
    assert values("cumsum(from_date(close, '2020-01-07'))", bars) == [None] * 6 + [6, 13]
    assert values("maximum(close, 3) - minimum(close, 3)", bars) == [2, 1, 0, 1, 1, 2, 3, 4]
    assert values("round(close / 3, 1)", bars)[:2] == [0.3, 0.7]


def test_a_day_begins_where_the_exchange_is() -> None:
    moments = np.array(["2020-01-07T04:59:00", "2020-01-07T05:00:00", "2020-01-07T05:01:00"], dtype="datetime64[s]")
    close = np.array([1.0, 2.0, 3.0])
    columns: dict[str, Any] = dict.fromkeys(("open", "high", "low", "volume"), close)
    bars = Bars("X", "v1", moments, close=close, zone="America/New_York", **columns)
    assert values("from_date(close, '2020-01-07')", bars) == [None, 2, 3]
    assert read("from_date(close, '2020-01-08')").newest([bars]) == [None]


@pytest.mark.parametrize(
    "text", ["source", "close", "sma(source, 3) + source[-1] * 2", "where(source > low, -source, highest(high, 3))"]
)
@pytest.mark.parametrize("series", ["close", "rsi(14)", "high - low * 2"])
def test_the_extent_of_what_a_source_is_put_in_is_known_before(text: str, series: str) -> None:
    root = expression_of(text, FUNCTIONS_BY_NAME, source=True).root
    given = expression_of(series, FUNCTIONS_BY_NAME).root
    assert extent_of(root, extent_of(given)) == extent_of(with_source(root, given))


def test_a_constant_is_a_series_of_it() -> None:
    assert values("1 + 1", with_closes(1, 2)) == [2, 2]
    assert values("2 > 1", with_closes(1, 2)) == [True, True]


@pytest.mark.parametrize(
    ("text", "lookback", "required"),
    [
        ("close", 0, 0),
        ("close[-5]", 5, 5),
        ("sma(sma(close, 10), 20)", 28, 28),
        ("sma(close, 50) > sma(close[-1], 10)", 49, 49),
        ("rising(sma(close, 10), 3)", 12, 12),
        ("crosses_above(highest(high, 20), close)", 20, 20),
        ("rsi(14) < 30", 14, CATALOGUE["rsi"].warmup({"time_period": 14})),
        ("obv() > sma(obv(), 20)", 19, None),
        ("since(close > open) < 5", 0, None),
    ],
)
def test_lookbacks_add_up_along_the_nesting(text: str, lookback: int, required: int | None) -> None:
    expression = read(text)
    assert (expression.lookback, expression.required) == (lookback, required)


@given(text=numbers(2) | truths(2), start=st.integers(1, 40))
def test_after_its_warmup_it_no_longer_depends_on_where_the_bars_began(text: str, start: int) -> None:
    expression, bars = read(text), walk(6, 1500, 0.01)
    if expression.required is None or expression.required > 1200 or "/" in text or "ln" in text or "div" in text:
        return  # near a division by nothing, what is left in the eighth digit decides
    rows = slice(start + expression.required, None)
    whole = expression.evaluate(bars).columns["value"]
    later = expression.evaluate(part(bars, slice(start, None))).columns["value"]
    if whole.dtype.kind == "f" and whole[rows].size:
        scale = float(np.nanmax(np.abs(whole[rows]), initial=0))
        np.testing.assert_allclose(later[expression.required :], whole[rows], rtol=1e-6, atol=1e-6 * scale)


class CountedCalls:
    """How many bars TA-Lib was handed, and how often."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.calls = 0
        self.bars = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        self.bars += len(arguments[0])
        return self._call(*arguments)


def test_equal_parts_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = CountedCalls(CATALOGUE["rsi"].work.call)  # type: ignore[attr-defined]  # of TA-Lib
    object.__setattr__(CATALOGUE["rsi"].work, "call", counted)
    try:
        read("rsi(14) < 30 or rsi(close, window=14) > 70 or rsi(14)[-1] > 5").evaluate(BARS)
    finally:
        object.__setattr__(CATALOGUE["rsi"].work, "call", counted._call)
    assert (counted.calls, counted.bars) == (1, len(BARS))


def test_the_estimate_covers_a_series_that_is_all_holes() -> None:
    """A call for each stretch: as many as there can be, and the estimate says so."""
    bars = with_closes(*([1.0, 2.0, 3.0, 0.0] * 500))
    counted = CountedCalls(CATALOGUE["sma"].work.call)  # type: ignore[attr-defined]
    object.__setattr__(CATALOGUE["sma"].work, "call", counted)
    try:
        expression = read("sma(1 / close, 2)")
        expression.evaluate(bars)
    finally:
        object.__setattr__(CATALOGUE["sma"].work, "call", counted._call)
    assert counted.calls == 500
    assert counted.calls * 6_000 <= expression.cost * len(bars)


def test_what_may_take_longer_than_the_budget_is_refused() -> None:
    expression = read("percentile(close / open, 1000)")
    assert expression.within(1_000, 1e9) is expression
    with pytest.raises(InvalidExpression, match="too costly"):
        expression.within(1_000, 1e6)


WORDS = {
    "NAME": st.sampled_from(["close", "rsi", "sma", "bbands", "upper", "since", "highest", "true", "nonsense", "ma_type", "ema"]),
    "NUMBER": st.sampled_from(["0 ", "1 ", "14 ", "2.5 ", "1e400 ", ".5 "]),  # 1.upper were 1. and upper
    "STRING": st.sampled_from(["'ema'", '"2013-01-02"', "''"]),
    **{word.upper(): st.just(f" {word} ") for word in ("and", "or", "not")},
}


@given(text=sentences(grammar(), WORDS))
@settings(max_examples=200)
def test_whatever_fits_the_grammar_is_computed_or_refused(text: str) -> None:
    grammar().parse(text)  # raises where it does not fit
    computed_or_refused(text)


@given(
    text=st.text(max_size=60)
    | st.lists(st.sampled_from([*"()[].,+-*/<>=!'\"&", "close", "rsi", "not ", "and ", "1", "14", " "])).map("".join)
)
@settings(max_examples=200)
def test_whatever_is_written_is_computed_or_refused(text: str) -> None:
    computed_or_refused(text)


def computed_or_refused(text: str) -> None:
    try:
        expression = read(text)
    except InvalidExpression as refused:
        mistake = refused.mistake
        assert 0 <= mistake.offset <= max(len(text), 1)
        assert mistake.length >= 1
        return
    expression.within(len(BARS), 1e12).evaluate(BARS)
    if expression.kind != "outputs":
        expression.newest([BARS])
    assert read(expression.text).root == expression.root
