"""What holds for any indicator with any parameters: every route gives the same, and no value depends on what came after it."""

from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.request import Parameters
from indicator_service.domain.series import Bars
from tests.indicator.conftest import Answering
from tests.indicator.oracle import called
from tests.indicator.samples import COLUMNS, any_parameters, part, sample, seeded
from tests.support.sample import SYMBOLS

ONE_APP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""All examples ask the same service, which keeps nothing of one that could change another."""

PARAMETERS = st.builds(
    lambda indicator, seed: any_parameters(indicator, seeded(seed)), st.sampled_from([*CATALOGUE.values()]), st.integers(0, 9_999)
)
SYMBOL = st.sampled_from(SYMBOLS)
PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
"""Between the first bar and the newest."""


async def stored(answer_of: Answering, parameters: Parameters, symbol: str, **wanted: Any) -> dict[str, Any]:
    query = {"symbol": symbol, **wanted, **parameters.shown}
    document: dict[str, Any] = orjson.loads(await answer_of("GET", f"indicators/{parameters.indicator.name}", query))
    return document


async def sent(answer_of: Answering, parameters: Parameters, bars: Bars) -> dict[str, Any]:
    columns = {"date": bars.iso_dates, **{name: getattr(bars, name).tolist() for name in COLUMNS}}
    body = {"bars": columns, "parameters": parameters.shown}
    document: dict[str, Any] = orjson.loads(await answer_of("POST", f"indicators/{parameters.indicator.name}", None, body))
    return document


@given(parameters=PARAMETERS, symbol=SYMBOL, places=PLACES, order=st.sampled_from(["asc", "desc"]), limit=st.integers(1, 5_000))
@ONE_APP
async def test_a_batch_and_an_expression_have_the_rows_of_the_single_route(
    answer_of: Answering, parameters: Parameters, symbol: str, places: list[float], order: str, limit: int
) -> None:
    dates = sample(symbol).iso_dates
    first, last = (dates[round(place * (len(dates) - 1))] for place in places)
    wanted = {"start_date": first, "end_date": last, "order": order, "limit": limit}
    alone = await stored(answer_of, parameters, symbol, **wanted)
    expected = alone["data"]
    assert [row["date"] for row in expected] == sorted(date for date in dates if first <= date <= last)[
        :: 1 if order == "asc" else -1
    ][:limit]

    items = [{"indicator": parameters.indicator.name, "parameters": parameters.shown}]
    body: dict[str, Any] = {"constructs": [{"symbol": symbol, **wanted, "indicators": items}]}
    (construct,) = orjson.loads(await answer_of("POST", "indicators/batch", None, body))["data"]
    (item,) = construct["indicators"]
    rows = zip(construct["dates"], *item["values"].values(), strict=True)
    assert [dict(zip(("date", *item["values"]), row, strict=True)) for row in rows] == expected

    body = {"symbol": symbol, **wanted, "expression": called(parameters)}
    assert orjson.loads(await answer_of("POST", "expressions/evaluate", None, body))["data"] == expected


@given(parameters=PARAMETERS, symbol=SYMBOL, place=st.floats(0, 1))
@ONE_APP
async def test_of_the_first_bars_alone_come_the_first_values(
    answer_of: Answering, parameters: Parameters, symbol: str, place: float
) -> None:
    """Own candles have the values of stored ones, and no function looks ahead."""
    bars = sample(symbol)
    count = 1 + round(place * (len(bars) - 1))
    known = await sent(answer_of, parameters, part(bars, slice(count)))
    assert known["data"] == (await stored(answer_of, parameters, symbol))["data"][:count]


@given(parameters=PARAMETERS, symbol=SYMBOL, place=st.floats(0, 1))
@ONE_APP
async def test_once_it_is_converged_the_newest_value_does_not_depend_on_where_the_bars_begin(
    answer_of: Answering, parameters: Parameters, symbol: str, place: float
) -> None:
    bars = sample(symbol)
    whole = (await stored(answer_of, parameters, symbol))["data"]
    required = parameters.warmup
    later = await sent(answer_of, parameters, part(bars, slice(round(place * (len(bars) - 1)), None)))
    used = len(later["data"]) - 1
    assert later["warmup"] == {"required": required, "used": used, "converged": required is not None and used >= required}
    if later["warmup"]["converged"]:
        for name, value in later["data"][-1].items():
            if name == "date" or value is None:
                assert value == whole[-1][name]
            else:
                usual = np.median([abs(row[name]) for row in whole if row[name] is not None])
                np.testing.assert_allclose(
                    value, whole[-1][name], rtol=1e-6, atol=1e-6 * usual, err_msg=f"{name} of {parameters}"
                )
