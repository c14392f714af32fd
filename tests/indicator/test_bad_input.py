"""Whatever is sent is a right answer, or a 4xx that names the field: on every route, for every parameter of the catalogue."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from indicator_service.domain.catalogue import CATALOGUE, TALIB
from indicator_service.domain.indicator import Indicator, Parameter
from indicator_service.domain.request import Parameters, Query
from indicator_service.domain.series import Bars
from tests.indicator.conftest import Answering, Asking
from tests.indicator.oracle import Rows, expected_of, of_list, read
from tests.indicator.samples import COLUMNS, defaults, part, sample
from tests.indicator.test_indicator_request import with_order

FIRST_LETTERS = ("abc", "d-h", "i-m", "n-r", "s-z")
HUGE = 10**400
NO_NUMBERS = [
    "",
    " ",
    "x",
    "NaN",
    "inf",
    "-inf",
    "1e400",
    f"{HUGE}",
    f"-{HUGE}",
    "true",
    "null",
    "[]",
    "0x10",
    "1,5",
    "٣",
    "1e",
    "--1",
]
NO_CHOICES = ["", " ", "x", "0", "SMA", "default", "NaN", f"{HUGE}", "sma,ema", "null"]
NO_DATES = [
    "",
    "x",
    "0",
    "2013-02-30",
    "20130102",
    "2013-W01-1",
    "2013-1-2",
    "2013-01-02T00:00:00Z",
    "0000-01-01",
    f"{HUGE}",
    "NaN",
]
NO_JSON_NUMBERS = [None, True, "", "14", "NaN", [14], [], {}, {"value": 14}]


def some(letters: str) -> list[Indicator]:
    """The indicators whose names begin so."""
    first, last = letters[0], letters[-1]
    return [indicator for indicator in CATALOGUE.values() if first <= indicator.name[0] <= last]


def every_parameter(letters: str) -> Iterator[tuple[Indicator, Parameter]]:
    return ((indicator, parameter) for indicator in some(letters) for parameter in indicator.parameters)


def outside(parameter: Parameter) -> list[int | float]:
    """The next ones below and above its bounds, and some far from them."""
    low, high = parameter.minimum, parameter.maximum
    if low is None or high is None:
        return []
    if parameter.type == "int":
        return [int(low) - 1, int(high) + 1, -(2**31), 2**31, -(2**63), 2**63, 2**64, 10**30]
    return [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), low - 1e38, high + 1e38]


def misfits(parameter: Parameter) -> list[str]:
    """Texts that are no value of it."""
    texts = {"choice": NO_CHOICES, "date": NO_DATES}.get(parameter.type, NO_NUMBERS)
    return [*texts, *map(repr, outside(parameter)), *(["1.5", "2.0000001", "3.7e1"] if parameter.type == "int" else [])]


def json_misfits(parameter: Parameter) -> list[Any]:
    """JSON that is no value of it."""
    if parameter.type == "choice":
        return [None, True, 0, 1.5, [], {}, *NO_CHOICES]
    if parameter.type == "date":
        return [None, True, 20130102, 1.5, [], {}, *NO_DATES]
    return [*NO_JSON_NUMBERS, *([1.5, 14.0] if parameter.type == "int" else []), *map(_json_number, outside(parameter))]


def _json_number(value: float) -> orjson.Fragment:
    """As text: orjson writes no integers beyond 64 bits."""
    return orjson.Fragment(repr(value).encode())


def at_bounds(indicator: Indicator, parameter: Parameter) -> Iterator[Parameters]:
    dates = ("0001-01-01", "9999-12-31") if parameter.type == "date" else ()
    number = float if parameter.type == "float" else int
    for value in dates or parameter.choices or (number(parameter.minimum or 0), number(parameter.maximum or 0)):
        together = with_order(indicator, parameter, value)
        yield Parameters(indicator, indicator.defaults | together, indicator.series_defaults)


def named(content: bytes) -> list[str | int]:
    """Where the first fault stood."""
    problem = orjson.loads(content)
    loc: list[str | int] = problem["errors"][0]["loc"]
    return loc


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_a_query_with_an_unfit_parameter_names_it(asking: Asking, letters: str) -> None:
    for indicator, parameter in every_parameter(letters):
        for text in misfits(parameter):
            answer = await asking("GET", f"indicators/{indicator.name}", {"symbol": "FB", parameter.name: text})
            assert answer.status == 422, (indicator.name, parameter.name, text)
            assert named(answer.content) == ["query", parameter.name], (indicator.name, text)


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_a_batch_with_unfit_parameters_names_each_in_its_slot(asking: Asking, letters: str) -> None:
    sent = [(*each, value) for each in every_parameter(letters) for value in json_misfits(each[1])]
    items = [{"indicator": indicator.name, "parameters": {parameter.name: value}} for indicator, parameter, value in sent]
    answer = await asking("POST", "indicators/batch", None, {"constructs": [{"symbol": "FB", "limit": 1, "indicators": items}]})
    assert (answer.status, answer.headers["x-kalpi-failed"]) == (200, str(len(items)))
    (construct,) = orjson.loads(answer.content)["data"]
    for at, ((indicator, parameter, value), slot) in enumerate(zip(sent, construct["indicators"], strict=True)):
        loc = ["body", "constructs", 0, "indicators", at, "parameters", parameter.name]
        assert (slot["error"]["status"], slot["error"]["errors"][0]["loc"]) == (422, loc), (indicator.name, value)


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_own_candles_with_an_unfit_parameter_name_it(asking: Asking, letters: str) -> None:
    bars = candles(part(sample("FB"), slice(1)))
    for indicator, parameter in every_parameter(letters):
        for value in json_misfits(parameter):
            body = {"bars": bars, "parameters": {parameter.name: value}}
            answer = await asking("POST", f"indicators/{indicator.name}", None, body)
            assert answer.status == 422, (indicator.name, parameter.name, value)
            assert named(answer.content) == ["body", "parameters", parameter.name], (indicator.name, value)


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_an_expression_with_an_unfit_parameter_points_at_it(asking: Asking, letters: str) -> None:
    for indicator, parameter in every_parameter(letters):
        for text in (*map(repr, outside(parameter)), f"{HUGE}", "1e400", "nan", "'x'", '""', "close > 1", "sma(2)"):
            expression = f"{indicator.name}({parameter.name}={text})"
            answer = await asking("POST", "expressions/evaluate", None, {"expression": expression, "symbol": "FB"})
            assert answer.status == 422, expression
            assert named(answer.content) == ["body", "expression"], expression


def candles(bars: Bars) -> dict[str, Any]:
    return {"date": bars.iso_dates, **{name: getattr(bars, name).tolist() for name in COLUMNS}}


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_at_its_bounds_a_parameter_has_the_right_values_on_every_route(answer_of: Answering, letters: str) -> None:
    """TA-Lib's own; of an indicator that it has not, those of the single route."""
    bars = sample("FB")
    asked = [parameters for each in every_parameter(letters) for parameters in at_bounds(*each)]
    items = [{"id": str(at), "indicator": of.indicator.name, "parameters": of.shown} for at, of in enumerate(asked)]
    body = {"constructs": [{"symbol": "FB", "indicators": items}]}
    (construct,) = orjson.loads(await answer_of("POST", "indicators/batch", None, body))["data"]
    for parameters, slot in zip(asked, construct["indicators"], strict=True):
        name = parameters.indicator.name
        alone = await answer_of("GET", f"indicators/{name}", {"symbol": "FB", **parameters.shown})
        assert slot["parameters"] == orjson.loads(alone)["parameters"] == parameters.shown
        single = read(alone, "json")
        batch = Rows(construct["dates"], {output: of_list(values) for output, values in slot["values"].items()})
        own = read(await answer_of("POST", f"indicators/{name}", None, {"bars": OWN, "parameters": parameters.shown}), "json")
        expected = expected_of(parameters, bars) if name in TALIB else single
        for rows in (single, batch, own):
            rows.check(expected)


OWN = orjson.Fragment(orjson.dumps(candles(sample("FB"))))


@pytest.mark.parametrize("letters", FIRST_LETTERS)
async def test_few_bars_have_the_values_of_as_many_and_none_before_the_first(answer_of: Answering, letters: str) -> None:
    """One bar, one too few for a value, and just enough."""
    for indicator in some(letters):
        parameters, lookback = defaults(indicator), indicator.lookback(indicator.defaults)
        stored = await answer_of("GET", f"indicators/{indicator.name}", {"symbol": "AAPL"})
        for count in sorted({1, 2, max(1, lookback), lookback + 1}):
            bars = part(sample("AAPL"), slice(count))
            answer = orjson.loads(await answer_of("POST", f"indicators/{indicator.name}", None, {"bars": candles(bars)}))
            assert answer["data"] == orjson.loads(stored)["data"][:count]
            if count <= lookback:
                assert any({row[output] for row in answer["data"]} == {None} for output in indicator.outputs)
            if indicator.name in TALIB:
                read(orjson.dumps(answer), "json").check(expected_of(parameters, bars))


async def test_no_bars_are_refused_by_every_indicator(asking: Asking) -> None:
    unfit: list[Any] = [[], {"date": [], "close": []}, {}, None, 7, "AAPL"]
    for name in CATALOGUE:
        for bars in unfit:
            answer = await asking("POST", f"indicators/{name}", None, {"bars": bars})
            assert (answer.status, named(answer.content)[:2]) == (422, ["body", "bars"])


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", f"{HUGE}", f"-{HUGE}", "0x10", "01", "1_0", "+1", ".5"]
)
async def test_what_is_no_number_of_json_is_named_by_its_place(asking: Asking, number: str) -> None:
    """A number beyond every double is none: the body is refused as a whole, with the line and the column."""
    for path, body in (
        ("indicators/sma", f'{{"bars": [{{"date": "2013-01-02", "close": {number}}}]}}'),
        ("indicators/sma", f'{{"bars": [{{"date": "2013-01-02", "close": 1}}], "parameters": {{"time_period": {number}}}}}'),
        (
            "indicators/batch",
            f'{{"constructs": [{{"symbol": "FB", "indicators": [{{"indicator": "sma", "limit": {number}}}]}}]}}',
        ),
        ("expressions/evaluate", f'{{"expression": "close", "symbol": "FB", "limit": {number}}}'),
        ("screener", f'{{"expression": "close > 1", "limit": {number}}}'),
    ):
        answer = await asking("POST", path, None, body.encode())
        assert answer.status == 422, (path, answer.content)
        assert named(answer.content) == ["body"], path
        assert "line 1 column" in orjson.loads(answer.content)["errors"][0]["msg"]


@pytest.mark.parametrize(
    "name", ["rsii", "", "r" * 65, "r" * 5_000, "RSI ", "rsi;drop", "ρσι", "\x00", "..", "__class__", "custom", "-1"]
)
async def test_an_unknown_name_is_not_found_or_refused(asking: Asking, name: str) -> None:
    for answer in (
        await asking("GET", f"indicators/{name}", {"symbol": "FB"}),
        await asking("POST", f"indicators/{name}", None, {"bars": OWN}),
    ):
        assert 400 <= answer.status < 500 or name == ""
    body = {"constructs": [{"symbol": "FB", "limit": 1, "indicators": [{"indicator": name}]}]}
    answer = await asking("POST", "indicators/batch", None, body)
    (construct,) = orjson.loads(answer.content)["data"]
    assert construct["indicators"][0]["error"]["status"] in {404, 422}


async def test_a_parameter_that_there_is_not_is_named_by_every_indicator(asking: Asking) -> None:
    """Among them those that others have, and what Python objects have."""
    for indicator in CATALOGUE.values():
        known = {alias for parameter in indicator.parameters for alias in (parameter.name, *parameter.aliases)}
        for unknown in {"nonsense", "time_period", "nbdev", "ma_type", "__class__", "self", "values", "TIME_PERIOD", ""} - known:
            answer = await asking("GET", f"indicators/{indicator.name}", {"symbol": "FB", unknown: 5})
            assert (answer.status, named(answer.content)) == (422, ["query", unknown]), indicator.name
            body = {"bars": OWN, "parameters": {unknown: 5}}
            answer = await asking("POST", f"indicators/{indicator.name}", None, body)
            assert (answer.status, named(answer.content)) == (422, ["body", "parameters", unknown]), indicator.name


JUNK: Sequence[str] = (
    "",
    " ",
    "x",
    "0",
    "-1",
    "1.5",
    "NaN",
    f"{HUGE}",
    "null",
    "[]",
    "\x00",
    "é" * 600,
    "9999-99-99",
    "20130102",
    "2013-02-30",
    "%",
)


@pytest.mark.parametrize("field", Query.model_fields)
async def test_whatever_stands_in_a_common_field_is_answered_or_named(asking: Asking, field: str) -> None:
    for path in ("indicators/rsi", "indicators/cdldoji", "indicators/ichimoku"):
        for text in JUNK:
            answer = await asking("GET", path, {"symbol": "FB", field: text})
            if answer.status == 422:
                assert named(answer.content) == ["query", field], text
            else:
                assert (answer.status, field) in {(404, "symbol"), (200, "explain"), (200, "include_ohlc")}, (
                    text,
                    answer.content,
                )


CONSTRUCT = ("id", "symbol", "interval", "adjustment", "start_date", "end_date", "as_of", "order", "limit")
JSON_JUNK: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    "",
    "x",
    "NaN",
    [],
    [1],
    {},
    "é" * 600,
    "\x00",
    orjson.Fragment(b"1e300"),
)


@pytest.mark.parametrize("field", CONSTRUCT)
async def test_whatever_stands_in_a_construct_is_answered_or_named_in_its_slot(asking: Asking, field: str) -> None:
    items = [{"indicator": "rsi"}]
    constructs = [{"symbol": "FB", field: value, "indicators": items} for value in JSON_JUNK]
    answer = await asking("POST", "indicators/batch", None, {"constructs": constructs})
    assert answer.status == 200, answer.content
    for at, slot in enumerate(orjson.loads(answer.content)["data"]):
        error = slot.get("error", {"status": 200})
        if error["status"] == 422:
            assert error["errors"][0]["loc"] == ["body", "constructs", at, field]
        else:
            assert error["status"] == 200 or (error["status"], field) == (404, "symbol")


@pytest.mark.parametrize("field", ["expression", "parameters", "symbol", "bars", *CONSTRUCT[2:], "cursor", "include_ohlc"])
async def test_whatever_stands_beside_an_expression_is_answered_or_named(asking: Asking, field: str) -> None:
    for value in JSON_JUNK:
        body = {"expression": "rsi(14)", "symbol": "FB", field: value}
        answer = await asking("POST", "expressions/evaluate", None, body)
        assert answer.status in {200, 404, 422}, (value, answer.content)
        if answer.status == 422:
            assert named(answer.content)[:2] in (["body", field], ["body", "symbol"]), value


@pytest.mark.parametrize("column", ["date", *COLUMNS])
async def test_whatever_stands_in_a_column_of_own_candles_is_computed_or_named(asking: Asking, column: str) -> None:
    """At its bar, or in all of them: also what a library writes for its decimals, small integers and dates."""
    bars = candles(part(sample("FB"), slice(20)))
    for value in (*JSON_JUNK, "10.50", "2013-01-02", "2013-01-02T00:00:00", 20130102, 127, -128, 1e308, 5e-324, -0.0):
        for values in ([value] * 20, [*bars[column][:7], value, *bars[column][8:]]):
            answer = await asking("POST", "indicators/mfi", None, {"bars": {**bars, column: values}})
            assert answer.status in {200, 422}, (value, answer.content)
            if answer.status == 422:
                assert named(answer.content)[:3] == ["body", "bars", column], value
            else:
                told = orjson.loads(answer.content)["data"]
                assert all(row["value"] is None or np.isfinite(row["value"]) for row in told)
