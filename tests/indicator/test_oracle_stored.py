"""The oracle on the single route: every function × five symbols × the defaults and three random sets, to the last bit."""

import pytest

from tests.indicator.conftest import Answering
from tests.indicator.oracle import FORMATS, GROUPS, expected_of, parameter_sets, read, symbol_of
from tests.indicator.samples import sample
from tests.support.sample import SYMBOLS


@pytest.mark.parametrize("group", GROUPS)
async def test_every_value_of_a_stored_symbol_is_ta_libs(answer_of: Answering, group: str) -> None:
    """As JSON and Arrow of every symbol; as CSV and Parquet, which `test_oracle_batch` has of all, of one symbol in turn."""
    for indicator in GROUPS[group]:
        for at, parameters in enumerate(parameter_sets(indicator)):
            for symbol in SYMBOLS:
                expected = expected_of(parameters, sample(symbol))
                for written in FORMATS if symbol == symbol_of(indicator, at) else ("json", "arrow"):
                    query = {"symbol": symbol, **parameters.shown, "format": written}
                    answer = await answer_of("GET", f"indicators/{indicator.name}", query)
                    read(answer, written).check(expected)
