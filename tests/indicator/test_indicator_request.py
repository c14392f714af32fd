"""What a client may send as parameters: every fault is refused, and named."""

from typing import Any

import pytest

from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.indicator import Indicator, Parameter
from indicator_service.domain.request import parse_parameters, parse_request
from shared.errors import InvalidInput

EVERY_PARAMETER = [
    (indicator, parameter) for indicator in CATALOGUE.values() for parameter in indicator.parameters if parameter.type != "date"
]
IDS = [f"{indicator.name}.{parameter.name}" for indicator, parameter in EVERY_PARAMETER]
NO_NUMBERS = ["", "x", "NaN", "inf", "-inf", "1e400", "true", "null", "9" * 400, "9" * 5000, "-4e37", "٣x", "1_0x", "0x10"]


def parsed(name: str, **query: str) -> dict[str, Any]:
    return parse_request(CATALOGUE[name], {"symbol": "AAPL", **query}.items()).parameters.shown


def with_order(indicator: Indicator, parameter: Parameter, value: Any) -> dict[str, Any]:
    """The value, and what has to go along where two parameters bound each other."""
    for order in indicator.ordered:
        step = int(order.strictly)
        if parameter.name == order.first:
            return {order.first: value if value != parameter.maximum else value - step, order.second: 100_000}
        if parameter.name == order.second:
            least = next(p.minimum for p in indicator.parameters if p.name == order.first)
            return {order.first: least, order.second: value if value != parameter.minimum else value + step}
    return {parameter.name: value}


@pytest.mark.parametrize(("indicator", "parameter"), EVERY_PARAMETER, ids=IDS)
def test_a_parameter_stays_within_its_bounds_and_type(indicator: Indicator, parameter: Parameter) -> None:
    bad: list[Any] = list(NO_NUMBERS)
    sent_as_json: list[Any] = [None, True, "14", [14], {}, 10**30]
    if parameter.type == "choice":
        bad += ["0", "SMA", "default"]
        sent_as_json += [0, 1.0]
    else:
        assert parameter.minimum is not None
        assert parameter.maximum is not None
        far = max(abs(parameter.minimum), abs(parameter.maximum))
        outside = [parameter.minimum - max(1, far * 1e-3), parameter.maximum + max(1, far * 1e-3), -(2**31), 2**63]
        outside = [value for value in outside if not parameter.minimum <= value <= parameter.maximum]
        if parameter.type == "int":
            outside = [int(value) for value in outside]
            bad += ["1.5", "3.7e1"]
            sent_as_json += [14.0, 14.5]
        bad += [str(value) for value in outside]
        sent_as_json += outside
    for value in bad:
        with pytest.raises(InvalidInput) as refused:
            parsed(indicator.name, **{parameter.name: value})
        assert any(parameter.name in error["loc"] for error in refused.value.errors), value
    for value in sent_as_json:
        if parameter.type == "float" and value == 10**30 and float(parameter.maximum or 0) > 10**30:
            continue
        with pytest.raises(InvalidInput) as refused:
            parse_parameters(indicator, {parameter.name: value}, "body", "parameters")
        assert refused.value.errors[0]["loc"] == ["body", "parameters", parameter.name], value


@pytest.mark.parametrize(("indicator", "parameter"), EVERY_PARAMETER, ids=IDS)
def test_a_parameter_may_be_at_its_bounds(indicator: Indicator, parameter: Parameter) -> None:
    for value in parameter.choices or (parameter.minimum, parameter.maximum):
        sent = with_order(indicator, parameter, value)
        shown = parse_parameters(indicator, sent, "body", "parameters").shown
        assert {name: shown[name] for name in sent} == sent
        assert parsed(indicator.name, **{name: str(value) for name, value in sent.items()}) == shown


def test_aliases_mean_their_parameters() -> None:
    for alias in ("window", "period", "length", "time_period"):
        assert parsed("rsi", **{alias: "9"})["time_period"] == 9
    assert parsed("bbands", std_dev="1.5") == {
        "time_period": 20,
        "nbdev_up": 1.5,
        "nbdev_dn": 1.5,
        "ma_type": "sma",
        "series_type": "close",
    }
    assert parse_request(CATALOGUE["sma"], [("symbol", "aapl"), ("timeframe", "1week")]).wanted.interval == "1week"


def test_an_indicator_takes_the_series_it_has_room_for() -> None:
    assert parsed("correl", series_type="close", series_type_2="volume")["series_type_2"] == "volume"
    assert parsed("correl")["series_type"] == "high"
    for name, query in (("atr", "series_type"), ("rsi", "series_type_2"), ("cdldoji", "series_type")):
        with pytest.raises(InvalidInput) as refused:
            parsed(name, **{query: "close"})
        assert refused.value.errors[0]["loc"] == ["query", query]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ([("symbol", "AAPL"), ("time_period", "3"), ("time_period", "4")], "time_period"),
        ([("symbol", "AAPL"), ("time_period", "3"), ("window", "4")], "window"),
        ([("symbol", "AAPL"), ("nonsense", "4")], "nonsense"),
        ([("symbol", "no symbol")], "symbol"),
        ([("symbol", "AAPL\n")], "symbol"),
        # letters that capitals of ASCII are made of: a Kelvin sign, a long s and a sharp one
        ([("symbol", "\u212a")], "symbol"),
        ([("symbol", "\u017f")], "symbol"),
        ([("symbol", "\u00df")], "symbol"),
        ([], "symbol"),
        ([("symbol", "AAPL"), ("interval", "2day")], "interval"),
        ([("symbol", "AAPL"), ("series_type", "hl3")], "series_type"),
        ([("symbol", "AAPL"), ("start_date", "2013-02-30")], "start_date"),
        ([("symbol", "AAPL"), ("start_date", "2013-02-02"), ("end_date", "2013-02-01")], "start_date"),
        ([("symbol", "AAPL"), ("include_ohlc", "perhaps")], "include_ohlc"),
        ([("symbol", "AAPL"), ("format", "xml")], "format"),
        ([("symbol", "AAPL"), ("limit", "50001")], "limit"),
    ],
)
def test_every_fault_names_its_field(query: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_request(CATALOGUE["rsi"], query)
    assert refused.value.errors[0]["loc"] == ["query", field]


@pytest.mark.parametrize("name", ["macd", "macdext", "apo", "ppo", "pvo"])
def test_a_fast_average_is_faster_than_the_slow_one(name: str) -> None:
    for fast in ("26", "12"):
        with pytest.raises(InvalidInput, match="fast_period"):
            parsed(name, fast_period=fast, slow_period="12")


def test_the_shortest_of_varying_periods_is_not_above_the_longest() -> None:
    assert parsed("mavp", min_period="30", max_period="30")["min_period"] == 30
    with pytest.raises(InvalidInput, match="min_period"):
        parsed("mavp", min_period="31", max_period="30")
