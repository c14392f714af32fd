"""The oracle on a client's own candles: every function × five symbols × the defaults and three random sets, to the last bit."""

from collections.abc import Iterable
from functools import cache

import orjson
import pytest

from indicator_service.domain.request import Parameters
from tests.indicator.conftest import Answering
from tests.indicator.oracle import FORMATS, GROUPS, Rows, expected_of, parameter_sets, read, symbol_of
from tests.indicator.samples import COLUMNS, sample
from tests.support.sample import SYMBOLS


@cache
def column(symbol: str, name: str) -> orjson.Fragment:
    bars = sample(symbol)
    return orjson.Fragment(orjson.dumps(bars.iso_dates if name == "date" else getattr(bars, name).tolist()))


async def sent(answer_of: Answering, parameters: Parameters, symbol: str, columns: Iterable[str], written: str) -> Rows:
    body = {"bars": {name: column(symbol, name) for name in ("date", *columns)}, "parameters": parameters.shown}
    return read(await answer_of("POST", f"indicators/{parameters.indicator.name}", {"format": written}, body), written)


@pytest.mark.parametrize("group", GROUPS)
async def test_every_value_of_own_candles_is_ta_libs(answer_of: Answering, group: str) -> None:
    """As Arrow, of the columns that it needs, of every symbol; in every format, of all columns, of one in turn."""
    for indicator in GROUPS[group]:
        for at, parameters in enumerate(parameter_sets(indicator)):
            for symbol in SYMBOLS:
                expected = expected_of(parameters, sample(symbol))
                in_turn = symbol == symbol_of(indicator, at)
                for written in FORMATS if in_turn else ("arrow",):
                    columns = COLUMNS if in_turn else parameters.columns
                    (await sent(answer_of, parameters, symbol, columns, written)).check(expected)
